"""The loss of a step whose gradient is private: of each person clipped, summed, and noise added."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from recsys.scorer.model import PreferenceScorer
from training.data.batches import Batches
from training.data.encoding import Encoder
from training.data.samples import Sample
from training.fitting.adapting.privacy import Mechanism
from training.fitting.adapting.secret import Secret
from training.fitting.objective import step_loss
from training.fitting.trainer import StepLoss


@dataclass(frozen=True, eq=False)
class People:
    """Draws of one person each: a part of a step is the number of a person.

    Attributes:
        drawn: whose users they are.
    """

    drawn: Batches

    def draw(self, step: int, part: int) -> list[Sample]:
        """What the person with the number `part` chose, in a list of one."""
        return [self.drawn.draw_one(self.drawn.users[part], step)]


def private_loss(
    scorer: PreferenceScorer,
    drawn: Batches,
    encoder: Encoder,
    mechanism: Mechanism,
    secret: Secret,
) -> StepLoss:
    """A loss with the value of the mean over people, and the gradient of the mechanism.

    The gradient is (Σ_u clip(g_u) + clip · noise_multiplier · N(0, 1)) / (rate · N), where g_u is
    of the loss of one person's sample. It alone leaves the function for the weights; the value
    and the figures are of the people drawn, without noise, and are for the log of the run.

    Args:
        scorer: in evaluation, for people would share what dropout draws; its preference tokens
            are what is trained.
        drawn: the people who are covered, and their samples.
        encoder: their image tokens.
        mechanism: clipping, noise and rate.
        secret: decides who takes part and the noise.
    """
    tokens, scale = scorer.preference_tokens, mechanism.clip * mechanism.noise_multiplier
    people = People(drawn)
    loss_of = step_loss(scorer, people, encoder)

    def loss_and_figures(step: int, part: int) -> tuple[Tensor, dict[str, float]]:
        total, told = np.zeros(tokens.numel()), []
        for number in _taking_part(people, mechanism, secret, step):
            loss, figures = loss_of(step, number)
            gradient = _gradient(loss, tokens)
            total += clipped(gradient, mechanism.clip)
            if np.isfinite(gradient).all():  # a figure that is not would end the run, and so tell
                told.append({"loss": loss.item(), **figures})
        total += scale * secret.noise(step, len(total))
        means = _means(told)
        loss = _with_gradient(tokens, total / mechanism.people_a_step, means.pop("loss"))
        return loss, {**means, "people": float(len(told))}

    return loss_and_figures


def clipped(gradient: Float[np.ndarray, " P"], clip: float) -> Float[np.ndarray, " P"]:
    """The gradient, scaled down to an L2 norm of `clip` where it is longer.

    Args:
        gradient: of one person's loss, float64. Where a number of it is NaN or infinite it has no
            length to scale down by, and counts as zero.
        clip: above 0.
    """
    if not np.isfinite(gradient).all():
        return np.zeros_like(gradient)
    norm = float(np.linalg.norm(gradient))
    return gradient * (clip / norm) if norm > clip else gradient


def _taking_part(people: People, mechanism: Mechanism, secret: Secret, step: int) -> Iterator[int]:
    """The numbers of those who take part, but for whom nothing is left to be told apart."""
    count = len(people.drawn.users)
    chosen = secret.takes_part(step, num_people=count, rate=mechanism.sampling_rate)
    return (n for n in np.flatnonzero(chosen).tolist() if people.draw(step, n)[0].pairs)


def _gradient(loss: Tensor, tokens: nn.Parameter) -> Float[np.ndarray, " P"]:
    (gradient,) = torch.autograd.grad(loss, [tokens])
    return np.asarray(gradient.double().flatten().cpu().numpy())


def _with_gradient(tokens: nn.Parameter, gradient: Float[np.ndarray, " P"], value: float) -> Tensor:
    """A scalar of this value, whose gradient is this one."""
    linear = (tokens * torch.as_tensor(gradient).to(tokens).view_as(tokens)).sum()
    return linear - linear.detach() + value


def _means(told: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Means over people; a loss of 0 where nobody takes part."""
    if not told:
        return {"loss": 0.0}
    return {name: float(np.mean([each[name] for each in told])) for name in told[0]}
