"""Two halves of one history that find each other: the loss, its gradients, and whom they reach."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys.history import Pair
from recsys.scorer.adapter import LoraShape, add_adapter
from recsys.scorer.idefics2 import DECODER_TARGETS
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import Projection
from training.data.features import ImageFeatures
from training.data.samples import Sample
from training.fitting.assembly import second_parameters, train_only
from training.fitting.split_half import Finding, SplitHalf, split_half_loss
from training.predictors.predictor import CandidateRow

LORA = LoraShape(rank=2, alpha=4, dropout=0.0, targets=DECODER_TARGETS)
ONE = torch.tensor(1.0)
HEADS = ((1, 2), (0, 3))  # two of the scorer's 2 x 4
NUM_READINGS = len(HEADS) * 3  # each attends to three preference tokens


def projection(width: int, dimension: int, heads=()) -> Projection:
    """As fitted, of numbers of many sizes."""
    rng = np.random.default_rng(3)
    scale = rng.uniform(0.5, 2, size=width)
    return Projection(rng.normal(size=width), scale, rng.normal(size=(width, dimension)), heads)


@given(num_users=st.integers(2, 9), scale=st.floats(0.125, 64.0, width=32))
def test_equal_signatures_give_log_b(num_users, scale) -> None:
    same = torch.tensor([[0.3, -2.0, 5.0]]).repeat(num_users, 1)
    loss = split_half_loss(same, same, torch.tensor(scale)).item()
    assert loss == pytest.approx(math.log(num_users), rel=1e-5)


def test_the_loss_is_that_of_a_naive_twin() -> None:
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(2, 5, 3))
    total = 0.0
    for one, other in ((first, second), (second, first)):
        for user in range(5):
            cosines = [
                one[user] @ each / np.linalg.norm(one[user]) / np.linalg.norm(each)
                for each in other
            ]
            weights = [math.exp(7.0 * cosine) for cosine in cosines]
            total -= math.log(weights[user] / sum(weights)) / 10
    loss = split_half_loss(torch.tensor(first), torch.tensor(second), torch.tensor(7.0).double())
    assert loss.item() == pytest.approx(total, rel=1e-9)


def test_halves_that_find_each_other_cost_nothing_and_crossed_ones_the_scale() -> None:
    first = torch.eye(2)
    assert split_half_loss(first, first, torch.tensor(50.0)).item() == pytest.approx(0, abs=1e-6)
    crossed = split_half_loss(first, first.flip(0), torch.tensor(50.0))
    assert crossed.item() == pytest.approx(50.0, abs=1e-4)


def test_length_and_sides_do_not_matter() -> None:
    first, second = torch.randn(2, 4, 3, generator=torch.Generator().manual_seed(0)).double()
    scale = torch.tensor(3.0).double()
    expected = split_half_loss(first, second, scale)
    torch.testing.assert_close(split_half_loss(second, first, scale), expected)
    torch.testing.assert_close(split_half_loss(9 * first, second / 9, scale), expected)
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(split_half_loss(first[order], second[order], scale), expected)


def test_a_half_that_shows_nothing_is_finite() -> None:
    nothing = torch.zeros(3, 4, requires_grad=True)
    loss = split_half_loss(nothing, torch.zeros(3, 4), ONE)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(3))
    assert torch.isfinite(nothing.grad).all()


def test_gradients_are_those_of_finite_differences() -> None:
    generator = torch.Generator().manual_seed(1)
    first, second = (
        torch.randn(4, 3, generator=generator, dtype=torch.float64, requires_grad=True)
        for _ in range(2)
    )
    scale = torch.tensor(2.5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(split_half_loss, (first, second, scale))


@pytest.mark.parametrize("num_users", [0, 1])
def test_nobody_else_to_be_told_from_is_refused(num_users) -> None:
    rows = torch.ones(num_users, 3)
    with pytest.raises(ValueError, match=f"at least two users, got {num_users}"):
        split_half_loss(rows, rows, ONE)


def test_the_head_is_the_projection_whatever_all_readings_have_in_common() -> None:
    """Cosines are those of signatures, were the projection's mean that of the batch."""
    fitted = projection(6, 4)
    first, second = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    both = torch.cat([first, second]).numpy()
    signatures = replace(fitted, mean=both.mean(axis=0))(both)
    one, other = torch.from_numpy(signatures).chunk(2)
    head = SplitHalf([projection(3, 4), fitted])
    loss = head(first, second, 1)
    torch.testing.assert_close(loss, split_half_loss(one, other, head.log_scale.exp()))
    shift = torch.randn(6)
    torch.testing.assert_close(head(first + shift, second + shift, 1), loss)


def test_of_the_head_the_scale_alone_is_learned() -> None:
    head = SplitHalf([projection(6, 4)])
    first, second = torch.randn(2, 5, 6, generator=torch.Generator().manual_seed(0))
    head(first, second, 0).backward()
    assert [n for n, p in head.named_parameters() if p.requires_grad] == ["log_scale"]
    assert head.log_scale.grad.abs() > 0


def test_readings_that_never_change_are_finite() -> None:
    head = SplitHalf([projection(3, 2)])
    readings = torch.ones(4, 3, requires_grad=True)
    loss = head(readings, readings, 0)
    loss.backward()
    assert loss.item() == pytest.approx(math.log(4))
    assert torch.isfinite(readings.grad).all()


@pytest.fixture
def scorer(make_scorer) -> PreferenceScorer:
    """As stage 2 has it: with an adapter, all frozen but the preference tokens."""
    made = make_scorer(
        seed=2,
        adapt=lambda model: add_adapter(model, LORA),
        num_references=4,
        num_preference_tokens=3,
    )
    train_only(made, second_parameters(made))
    return made.train()


def picture(row: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(row)
    return torch.randint(0, 256, (3, 20, 20), generator=generator, dtype=torch.uint8)


@pytest.fixture
def encode(scorer) -> ImageFeatures:
    return ImageFeatures(scorer, picture)


PROBES = [
    [CandidateRow(90, "a fish"), CandidateRow(91, "")],
    [CandidateRow(92, "two fish")],
]


@pytest.fixture
def finding(scorer) -> Finding:
    projections = [projection(len(part) * NUM_READINGS, 4, HEADS) for part in PROBES]
    return Finding(scorer, SplitHalf(projections), PROBES, weight=1.0, seed=5)


def sample(user: int, references: int, targets: int) -> Sample:
    rows = iter(range(20 * user, 20 * user + 20))
    pairs = [Pair(next(rows), next(rows), "a fish") for _ in range(references + targets)]
    return Sample(tuple(pairs[:references]), tuple(pairs[references:]))


def seen_of(samples, encode) -> dict[int, torch.Tensor]:
    rows = sorted(
        {r for s in samples for p in (*s.references, *s.pairs) for r in (p.liked, p.disliked)}
    )
    return dict(zip(rows, encode(rows).unbind(), strict=True))


SAMPLES = [sample(0, 4, 4), sample(1, 2, 3), sample(2, 4, 2)]


def test_gradients_reach_the_preference_tokens_and_nothing_else(scorer, finding, encode) -> None:
    scorer.requires_grad_(True)  # even where something else were left to be trained
    train_only(scorer, second_parameters(scorer))
    finding.loss(SAMPLES, seen_of(SAMPLES, encode), encode, (0, 0)).backward()
    reached = {n for n, p in scorer.named_parameters() if p.grad is not None}
    assert reached == {"preference_tokens"}
    assert (scorer.preference_tokens.grad.abs().sum(dim=1) > 0).all(), "every token learns"
    assert finding.objective.log_scale.grad.abs() > 0


def test_the_gradient_of_the_preference_tokens_is_that_of_finite_differences(
    scorer, finding, encode
) -> None:
    seen = {row: tokens.double() for row, tokens in seen_of(SAMPLES, encode).items()}
    probes = {probe.row: encode([probe.row])[0].double() for part in PROBES for probe in part}
    scorer.double()

    def encoded(rows) -> torch.Tensor:
        return torch.stack([probes[row] for row in rows])

    def loss() -> torch.Tensor:
        return finding.loss(SAMPLES, seen, encoded, (0, 0))

    loss().backward()
    gradient = scorer.preference_tokens.grad
    direction = torch.randn_like(gradient)
    with torch.no_grad():
        values = []
        for step in (1e-2, -2e-2):
            scorer.preference_tokens += step * direction
            values.append(loss().item())
    expected = (gradient * direction).sum().item()
    # The attention is recorded in float32, so the step is wide and the tolerance with it.
    assert (values[0] - values[1]) / 2e-2 == pytest.approx(expected, rel=2e-2, abs=1e-4)


def test_short_samples_take_no_part(finding, encode) -> None:
    """Less than half of 4 references on either side."""
    short = [sample(3, 1, 4), sample(4, 4, 1), sample(5, 0, 8)]
    every = [*SAMPLES, *short]
    seen = seen_of(every, encode)
    with_short = finding.loss(every, seen, encode, (0, 0))
    torch.testing.assert_close(with_short, finding.loss(SAMPLES, seen, encode, (0, 0)))


@pytest.mark.parametrize("num_long", [0, 1])
def test_too_few_long_samples_cost_nothing_and_pull_nowhere(
    scorer, finding, encode, num_long
) -> None:
    samples = [*SAMPLES[:num_long], sample(4, 4, 1)]
    loss = finding.loss(samples, seen_of(samples, encode), encode, (0, 0))
    loss.backward()
    assert loss.item() == 0.0
    assert torch.equal(scorer.preference_tokens.grad, torch.zeros_like(scorer.preference_tokens))


def test_the_weight_scales_and_the_place_decides_the_probes(scorer, finding, encode) -> None:
    seen = seen_of(SAMPLES, encode)
    asked: list[list[int]] = []

    def told(rows):
        asked.append(list(rows))
        return encode(rows)

    losses = [finding.loss(SAMPLES, seen, told, at).item() for at in [(0, 0), (0, 0)]]
    assert losses[0] == losses[1]
    assert asked[0] == asked[1]
    for step in range(1, 12):
        finding.loss(SAMPLES, seen, told, (step, 0))
    assert {tuple(rows) for rows in asked} == {(90, 91), (92,)}, "one part a step, in time both"
    half = replace(finding, weight=0.5)
    assert half.loss(SAMPLES, seen, told, (0, 0)).item() == pytest.approx(losses[0] / 2)


def test_a_few_steps_on_the_preference_tokens_alone_bring_the_halves_together(
    scorer, finding, encode
) -> None:
    """Two halves that show the same images, which any projection does not tell apart."""
    samples = [Sample(s.references, s.references) for s in (sample(n, 4, 0) for n in range(4))]
    seen = seen_of(samples, encode)
    optimizer = torch.optim.Adam([scorer.preference_tokens], lr=3e-2)
    losses = []
    for _ in range(8):
        optimizer.zero_grad()
        loss = finding.loss(samples, seen, encode, (0, 0))
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
