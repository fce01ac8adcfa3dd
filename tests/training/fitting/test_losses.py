"""Eq. 1 to 5 against hand arithmetic and finite differences."""

import math

import jaxtyping
import pytest
import torch
from torch import Tensor

from training.fitting.losses import (
    base_loss,
    dislike_ranking_loss,
    like_ranking_loss,
    preference_loss,
)


@pytest.fixture
def shapes_unchecked(monkeypatch):
    """As in production, where annotations of shape are inert."""
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


LIKED = torch.tensor([[2.0, -1.0], [0.5, 0.5]])
DISLIKED = torch.tensor([[1.0, 1.5], [-0.5, 2.0]])


def test_base_loss_is_half_the_cross_entropy_of_both_images() -> None:
    pair_1 = -math.log(sigmoid(2.0 - -1.0)) - math.log(1 - sigmoid(1.0 - 1.5))
    pair_2 = -math.log(sigmoid(0.5 - 0.5)) - math.log(1 - sigmoid(-0.5 - 2.0))
    assert base_loss(LIKED, DISLIKED).item() == pytest.approx((pair_1 + pair_2) / 2 / 2)


def test_like_ranking_compares_like_logits_alone() -> None:
    expected = -(math.log(sigmoid(2.0 - 1.0)) + math.log(sigmoid(0.5 - -0.5))) / 2
    assert like_ranking_loss(LIKED, DISLIKED).item() == pytest.approx(expected)


def test_dislike_ranking_compares_dislike_logits_alone() -> None:
    expected = -(math.log(sigmoid(1.5 - -1.0)) + math.log(sigmoid(2.0 - 0.5))) / 2
    assert dislike_ranking_loss(LIKED, DISLIKED).item() == pytest.approx(expected)


def test_the_whole_is_the_sum_and_the_ablation_drops_the_contrastive_part() -> None:
    parts = [f(LIKED, DISLIKED) for f in (base_loss, like_ranking_loss, dislike_ranking_loss)]
    assert preference_loss(LIKED, DISLIKED).item() == pytest.approx(sum(parts).item())
    ablated = preference_loss(LIKED, DISLIKED, contrastive_weight=0.0)
    assert ablated.item() == pytest.approx(parts[0].item())


def test_equal_logits_give_three_times_log_two() -> None:
    same = torch.full((5, 2), 3.25)
    assert preference_loss(same, same).item() == pytest.approx(3 * math.log(2))


@pytest.mark.parametrize("scale", [1e4, -1e4])
def test_extreme_logits_stay_finite(scale: float) -> None:
    assert math.isfinite(preference_loss(LIKED * scale, DISLIKED * scale).item())


@pytest.mark.parametrize("loss", [base_loss, like_ranking_loss, dislike_ranking_loss])
@pytest.mark.parametrize("rows", [(2, 1), (0, 0)])
def test_unpaired_or_empty_input_is_refused(loss, rows, shapes_unchecked) -> None:
    liked, disliked = (torch.zeros(n, 2) for n in rows)
    with pytest.raises(ValueError, match="pair up and not be empty"):
        loss(liked, disliked)


def test_gradients_agree_with_finite_differences() -> None:
    liked, disliked = (x.double().requires_grad_() for x in (LIKED, DISLIKED))

    def whole(a: Tensor, b: Tensor) -> Tensor:
        return preference_loss(a, b)

    assert torch.autograd.gradcheck(whole, (liked, disliked))


def test_weights_make_a_weighted_mean_over_pairs() -> None:
    liked, disliked = torch.randn(3, 2), torch.randn(3, 2)
    weights = torch.tensor([0.5, 0.0, 2.5])
    each = [preference_loss(liked[n : n + 1], disliked[n : n + 1]) for n in range(3)]
    expected = (0.5 * each[0] + 2.5 * each[2]) / 3
    torch.testing.assert_close(preference_loss(liked, disliked, weights=weights), expected)
    alike = preference_loss(liked, disliked, weights=torch.ones(3))
    torch.testing.assert_close(alike, preference_loss(liked, disliked))
