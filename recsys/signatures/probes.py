"""What the same probe images show behind each user's references: scores, and attention to P_v.

Axes: B users, R references, P probes, T tokens of an image, D hidden width, K preference tokens,
A heads of some layers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float
from torch import Tensor

from recsys.scorer.attention import record_preference_attention
from recsys.scorer.model import CandidateImage, PreferenceScorer
from recsys.scorer.packing import Packed, pack
from recsys.signatures.definition import Head


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
        scores: M+ - M- of P probes, shape (B, P).
        attention: of A heads, shape (B, P, A, K): Eq. 6 of that place's query as a centred
            log-ratio over the K preference tokens.
    """

    scores: Float[Tensor, "B P"]
    attention: Float[Tensor, "B P A K"]


def read_probes(
    scorer: PreferenceScorer,
    prompts: Sequence[Sequence[str]],
    features: Float[Tensor, "N T D"],
    probes: Probes,
    *,
    heads: Sequence[Head] = (),
) -> ProbeReadings:
    """Read every probe behind each of B users' references; differentiable down to P_v.

    Args:
        scorer: with the weights to be read.
        prompts: of each user's references, at most as many as the model was trained with.
        features: of all users' reference images, user by user, liked before disliked.
        probes: the candidates.
        heads: whose attention is read, in this order; the scorer must have preference tokens then.
    """
    packed, tokens = packed_probes(scorer, prompts, features, probes)
    return read_packed(scorer, packed, tokens, heads=heads)


def read_packed(
    scorer: PreferenceScorer,
    packed: Packed,
    tokens: Float[Tensor, "M T D"],
    *,
    heads: Sequence[Head] = (),
) -> ProbeReadings:
    """The same of what `packed_probes` returns."""
    count = scorer.config.num_preference_tokens
    if heads:
        queries = packed.readouts + count
        with record_preference_attention(
            count, normalisation="log_ratio", queries=queries
        ) as record:
            logits = scorer.logits(packed, tokens)
        attention = torch.stack([record.layers[layer][:, head] for layer, head in heads], dim=2)
    else:
        logits = scorer.logits(packed, tokens)
        attention = logits.new_zeros(*packed.readouts.shape, 0, count)
    return ProbeReadings(logits[..., 0] - logits[..., 1], attention)


def all_heads(scorer: PreferenceScorer) -> tuple[Head, ...]:
    """Every head that attends to preference tokens, layer by layer; none where there are none."""
    if not scorer.config.num_preference_tokens:
        return ()
    return tuple(product(range(scorer.backbone.num_layers), range(scorer.backbone.num_heads)))


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


def encode_probes(scorer: PreferenceScorer, candidates: Sequence[CandidateImage]) -> Probes:
    """Probes as the scorer's image tokens."""
    with torch.no_grad():
        features = scorer.image_features([candidate.image for candidate in candidates])
    return Probes(tuple(candidate.prompt for candidate in candidates), features)
