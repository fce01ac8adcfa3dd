"""The loss of a step, where users have preference tokens of their own."""

import torch

from recsys.history import Pair
from training.data.encoding import Encoded
from training.data.samples import Sample
from training.fitting.objective import step_loss

SAMPLES = [
    Sample((Pair(0, 1, "a fish"),), (Pair(2, 3, "two fish"),)),
    Sample((Pair(4, 5, "two fish"),), (Pair(6, 7, "a fish"),)),
]


class Drawn:
    """The same samples in each step."""

    def draw(self, step: int, part: int) -> list[Sample]:
        return SAMPLES


def test_users_read_preference_tokens_of_their_own(make_scorer) -> None:
    scorer = make_scorer(num_references=1, num_preference_tokens=3)
    features = scorer.image_features([torch.rand(3, 16, 16) for _ in range(8)])
    encoded = Encoded(features, {row: row for row in range(8)}, features.device)
    tokens = scorer.preference_tokens.detach().repeat(2, 1, 1).requires_grad_()
    asked: list[list[Sample]] = []

    def own(samples: list[Sample]) -> torch.Tensor:
        asked.append(list(samples))
        return tokens

    loss, _ = step_loss(scorer, Drawn(), encoded, preference=own)(0, 0)
    torch.testing.assert_close(loss, step_loss(scorer, Drawn(), encoded)(0, 0)[0])
    assert asked == [SAMPLES]

    with torch.no_grad():
        tokens[0] += 1
    changed, figures = step_loss(scorer, Drawn(), encoded, preference=own)(0, 0)
    assert abs((changed - loss).item()) > 1e-6
    assert set(figures) == {"top1"}
    changed.backward()
    assert bool((tokens.grad.flatten(1).norm(dim=1) > 0).all())
