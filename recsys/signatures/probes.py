"""What the same probe images show behind each user's references: scores, and attention to P_v.

Axes: B users, R references, P probes, T tokens of an image, D hidden width, K preference tokens,
H heads, L tokens of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.scorer.attention import Normalisation, record_preference_attention
from recsys.scorer.model import CandidateImage, PreferenceScorer
from recsys.scorer.packing import Packed, pack


@dataclass(frozen=True, eq=False)
class Probes:
    """The candidates that everybody gets.

    Attributes:
        prompts: of P probes.
        features: image tokens, shape (P, T, D).
    """

    prompts: tuple[str, ...]
    features: Float[Tensor, "P T D"]


@torch.no_grad()
def probe_scores(
    scorer: PreferenceScorer,
    prompts: Sequence[Sequence[str]],
    features: Float[Tensor, "N T D"],
    probes: Probes,
) -> Float[np.ndarray, "B P"]:
    """M+ - M- of every probe behind each of B users' references, in one packed pass.

    Args:
        scorer: with the weights to be read.
        prompts: of each user's references, at most as many as the model was trained with.
        features: of all users' reference images, user by user, liked before disliked.
        probes: the candidates.
    """
    logits = scorer.logits(_packed(scorer, prompts, probes), _features(prompts, features, probes))
    return (logits[..., 0] - logits[..., 1]).double().cpu().numpy()


def probe_attention(
    scorer: PreferenceScorer,
    prompts: Sequence[Sequence[str]],
    features: Float[Tensor, "N T D"],
    probes: Probes,
    *,
    normalisation: Normalisation = "preference",
) -> Float[np.ndarray, "B layers H K"]:
    """Attention of the probes' tokens to P_v, averaged over tokens and probes (Eq. 6).

    Args:
        scorer, prompts, features, probes: as in `probe_scores`.
        normalisation: as in `record_preference_attention`.

    Raises:
        ValueError: if the scorer has no preference tokens.
    """
    with torch.no_grad():
        attention = mean_attention(scorer, prompts, features, probes, normalisation=normalisation)
    return attention.double().cpu().numpy()


def mean_attention(
    scorer: PreferenceScorer,
    prompts: Sequence[Sequence[str]],
    features: Float[Tensor, "N T D"],
    probes: Probes,
    *,
    normalisation: Normalisation = "preference",
) -> Float[Tensor, "B layers H K"]:
    """As `probe_attention`, with gradients down to P_v."""
    count = scorer.config.num_preference_tokens
    with record_preference_attention(count, normalisation=normalisation) as record:
        packed = _packed(scorer, prompts, probes)
        scorer.logits(packed, _features(prompts, features, probes))
    is_probe = (packed.segments > 0).to(record.layers[0])
    share = is_probe / is_probe.sum(dim=1, keepdim=True)  # (B, L)
    weights = record.stacked()[..., count:, :]  # (layers, B, H, L, K)
    return torch.einsum("lbhqk,bq->blhk", weights, share)


def _packed(scorer: PreferenceScorer, prompts: Sequence[Sequence[str]], probes: Probes) -> Packed:
    candidates = [scorer.template.candidate(prompt) for prompt in probes.prompts]
    return pack(
        [scorer.template.prefix(each) for each in prompts],
        [candidates] * len(prompts),
        first_position=scorer.config.num_preference_tokens,
    )


def _features(
    prompts: Sequence[Sequence[str]], features: Tensor, probes: Probes
) -> Float[Tensor, "N T D"]:
    """References' and probes' image tokens, in the order in which they stand in the rows."""
    users = features.split([2 * len(each) for each in prompts])
    return torch.cat([part for user in users for part in (user, probes.features)])


def encode_probes(scorer: PreferenceScorer, candidates: Sequence[CandidateImage]) -> Probes:
    """Probes as the scorer's image tokens."""
    with torch.no_grad():
        features = scorer.image_features([candidate.image for candidate in candidates])
    return Probes(tuple(candidate.prompt for candidate in candidates), features)
