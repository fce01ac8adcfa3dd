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
from recsys.scorer.packing import SHARED, Packed, pack


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
    packed, tokens = packed_probes(scorer, prompts, features, probes)
    logits = scorer.logits(packed, tokens)
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
        packed, tokens = packed_probes(scorer, prompts, features, probes)
        scorer.logits(packed, tokens)
    layers = [layer[..., count:, :] for layer in record.layers]  # P_v looks too
    return torch.stack([mean_over_probes(layer, packed) for layer in layers], dim=1)


def packed_probes(
    scorer: PreferenceScorer,
    prompts: Sequence[Sequence[str]],
    features: Float[Tensor, "N T D"],
    probes: Probes,
) -> tuple[Packed, Float[Tensor, "M T D"]]:
    """Pack the probes behind each of B users' references: a row a user.

    Args:
        scorer, prompts, features, probes: as in `probe_scores`.

    Returns:
        The rows, and the references' and probes' image tokens in the order in which they stand
        there: what `PreferenceScorer.logits` takes.
    """
    candidates = [scorer.template.candidate(prompt) for prompt in probes.prompts]
    packed = pack(
        [scorer.template.prefix(each) for each in prompts],
        [candidates] * len(prompts),
        first_position=scorer.config.num_preference_tokens,
    )
    users = features.split([2 * len(each) for each in prompts])
    return packed, torch.cat([part for user in users for part in (user, probes.features)])


def mean_over_probes(weights: Float[Tensor, "B H L K"], packed: Packed) -> Float[Tensor, "B H K"]:
    """Average one layer's attention over the tokens of all probes of a row (Eq. 6).

    Args:
        weights: of each token on each preference token, any real number.
        packed: the rows, of `packed_probes`.
    """
    is_probe = (packed.segments > SHARED).to(weights)
    share = is_probe / is_probe.sum(dim=1, keepdim=True)  # (B, L)
    return torch.einsum("bhqk,bq->bhk", weights, share)


def encode_probes(scorer: PreferenceScorer, candidates: Sequence[CandidateImage]) -> Probes:
    """Probes as the scorer's image tokens."""
    with torch.no_grad():
        features = scorer.image_features([candidate.image for candidate in candidates])
    return Probes(tuple(candidate.prompt for candidate in candidates), features)
