"""The loss on average over what a person may choose."""

import torch

from training.fitting.losses import preference_loss
from training.fitting.pretraining._interleaved import expected_loss


def test_a_certain_choice_gives_the_loss_of_that_choice() -> None:
    first, second = torch.randn(2, 5, 2, generator=torch.Generator().manual_seed(1)).unbind()
    for weight in (0.0, 1.0):
        likes = expected_loss(first, second, torch.ones(5), contrastive_weight=weight)
        torch.testing.assert_close(likes, preference_loss(first, second, contrastive_weight=weight))
        dislikes = expected_loss(first, second, torch.zeros(5), contrastive_weight=weight)
        torch.testing.assert_close(
            dislikes, preference_loss(second, first, contrastive_weight=weight)
        )


def test_it_is_the_mean_loss_of_choices_that_are_drawn_so() -> None:
    generator = torch.Generator().manual_seed(2)
    first, second = torch.randn(2, 3, 2, generator=generator).unbind()
    likes = torch.tensor([0.1, 0.5, 0.8])
    drawn = torch.rand(20_000, 3, generator=generator) < likes
    losses = torch.stack(
        [expected_loss(first, second, choice.float()) for choice in drawn[:4000]]
    ).mean()
    torch.testing.assert_close(losses, expected_loss(first, second, likes), atol=0.02, rtol=0)
