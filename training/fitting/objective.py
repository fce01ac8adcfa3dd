"""The loss of a training step: the paper's, over packed samples."""

from collections.abc import Callable, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from recsys.scorer.model import PreferenceScorer, preference_score
from training.data.batches import Draws
from training.data.encoding import Encoder
from training.data.samples import Sample, pack_samples, split_pairs
from training.fitting.losses import preference_loss
from training.fitting.split_half import Finding
from training.fitting.step_clock import FORWARD, MOVING, OFF, READING, StepClock
from training.fitting.trainer import StepLoss

PreferenceOf = Callable[[Sequence[Sample]], Float[Tensor, "B K D"]]
"""Preference tokens of each sample's user, with gradients."""


def step_loss(
    scorer: PreferenceScorer,
    drawn: Draws,
    encoder: Encoder,
    *,
    contrastive_weight: float = 1.0,
    weights: Mapping[str, float] | None = None,
    finding: Finding | None = None,
    preference: PreferenceOf | None = None,
    clock: StepClock = OFF,
) -> StepLoss:
    """L_all (Eq. 5) of a part's samples, each user's pairs packed behind one prefix.

    Args:
        scorer: in training.
        drawn: the samples of each step.
        encoder: their image tokens.
        contrastive_weight: of L+ and L-.
        weights: of pairs, by prompt; 1 by default.
        finding: the objective on the preference tokens, where there is one.
        preference: what stands before each sample; None: the scorer's own preference tokens.
        clock: times what a part takes, if it is on.
    """
    count = scorer.config.num_preference_tokens

    def loss_of(step: int, part: int) -> tuple[Tensor, dict[str, float]]:
        asked = drawn.draw(step, part)
        with clock.phase(READING):
            samples, encode = encoder.read(asked, (step, part))
        packed, order = pack_samples(scorer.template, samples, num_preference_tokens=count)
        rows = order.tolist()
        with clock.phase(MOVING):
            features = encode(rows)
        clock.split_backward(features)
        with clock.phase(FORWARD):
            before = None if preference is None else preference(samples)
            logits = scorer.logits(packed, features, preference=before)
            liked, disliked = split_pairs(packed, logits)
        loss = preference_loss(
            liked,
            disliked,
            contrastive_weight=contrastive_weight,
            weights=_pair_weights(samples, weights, like=liked),
        )
        right = preference_score(liked) > preference_score(disliked)
        figures = {"top1": right.float().mean().item(), **encoder.figures()}
        if finding is None:
            return loss, figures
        seen = dict(zip(rows, features.unbind(), strict=True))
        with clock.phase(FORWARD):
            split_half = finding.loss(samples, seen, encoder.rows, (step, part))
        return loss + split_half, {**figures, "split_half": split_half.item()}

    return loss_of


def _pair_weights(
    samples: Sequence[Sample], weights: Mapping[str, float] | None, *, like: Tensor
) -> Tensor | None:
    if weights is None:
        return None
    values = [weights[pair.prompt] for sample in samples for pair in sample.pairs]
    return torch.tensor(values, dtype=like.dtype, device=like.device)
