"""What the same probe images show behind each user's references: scores, and attention to P_v.

Axes: B users, R references, P probes, T tokens of an image, D hidden width, K preference tokens,
H heads, L tokens of a row.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from recsys.scorer.attention import record_preference_attention
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


@dataclass(frozen=True, eq=False)
class ProbeReadings:
    """What one packed pass shows of each probe, where its score is read: behind its last token.

    Attributes:
        scores: M+ - M-, shape (B, P).
        attention: Eq. 6 of that place's query as a centred log-ratio over the K preference tokens,
            shape (B, P, layers, H, K); no layers for a scorer without preference tokens.
    """

    scores: Float[Tensor, "B P"]
    attention: Float[Tensor, "B P layers H K"]


def read_probes(
    scorer: PreferenceScorer,
    prompts: Sequence[Sequence[str]],
    features: Float[Tensor, "N T D"],
    probes: Probes,
) -> ProbeReadings:
    """Read every probe behind each of B users' references; differentiable down to P_v.

    Args:
        scorer: with the weights to be read.
        prompts: of each user's references, at most as many as the model was trained with.
        features: of all users' reference images, user by user, liked before disliked.
        probes: the candidates.
    """
    return read_packed(scorer, *packed_probes(scorer, prompts, features, probes))


def read_packed(
    scorer: PreferenceScorer, packed: Packed, tokens: Float[Tensor, "M T D"]
) -> ProbeReadings:
    """The same of what `packed_probes` returns."""
    count = scorer.config.num_preference_tokens
    if count:
        queries = packed.readouts + count
        with record_preference_attention(
            count, normalisation="log_ratio", queries=queries
        ) as record:
            logits = scorer.logits(packed, tokens)
        attention = record.stacked().permute(1, 3, 0, 2, 4)
    else:
        logits = scorer.logits(packed, tokens)
        attention = logits.new_zeros(*packed.readouts.shape, 0, 0, 0)
    return ProbeReadings(logits[..., 0] - logits[..., 1], attention)


def packed_probes(
    scorer: PreferenceScorer,
    prompts: Sequence[Sequence[str]],
    features: Float[Tensor, "N T D"],
    probes: Probes,
) -> tuple[Packed, Float[Tensor, "M T D"]]:
    """Pack the probes behind each of B users' references: a row a user.

    Args:
        scorer, prompts, features, probes: as in `read_probes`.

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
