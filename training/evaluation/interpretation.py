"""A look inside: where candidates attend to the preference tokens (paper, Fig. 3)."""

import base64
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.images.decode import inspect
from recsys.scorer.attention import record_preference_attention
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.packing import pack
from training.data.features import Features
from training.data.samples import Pair, user_rng
from training.evaluation.predictors import CandidateRow
from training.evaluation.questions import Samples

NUM_ORDERS = 5


@torch.no_grad()
def attention_maps(
    scorer: PreferenceScorer,
    features: Features,
    samples: Samples,
    candidate: CandidateRow,
    *,
    num_orders: int = NUM_ORDERS,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, "O K"]]:
    """How the same image attends to the preference tokens behind each user's references (Fig. 3).

    Eq. 6, averaged over the candidate's tokens, heads and layers; each row sums to 1.

    Args:
        scorer: with at least one preference token.
        features: image tokens.
        samples: users and their references.
        candidate: the image that all users get.
        num_orders: re-orderings of the references; the first is as given.
        seed: decides the others.

    Raises:
        ValueError: if the scorer has no preference tokens.
    """
    maps = {}
    for user, sample in samples.items():
        rng = user_rng(seed, user)
        orders = [list(range(len(sample.references)))]
        orders += [rng.permutation(len(sample.references)).tolist() for _ in range(num_orders - 1)]
        rows = [
            _attention(scorer, features, [sample.references[i] for i in order], candidate)
            for order in orders
        ]
        maps[user] = torch.stack(rows).cpu().numpy()
    return maps


def data_url(encoded: bytes) -> str:
    """An encoded image as a URL that stands for itself, so that a page needs no network."""
    return f"data:{inspect(encoded).media_type};base64,{base64.b64encode(encoded).decode()}"


def _attention(
    scorer: PreferenceScorer,
    features: Features,
    references: Sequence[Pair],
    candidate: CandidateRow,
) -> Tensor:
    template, count = scorer.template, scorer.config.num_preference_tokens
    packed = pack(
        [template.prefix([pair.prompt for pair in references])],
        [[template.candidate(candidate.prompt)]],
        first_position=count,
    )
    rows = [row for pair in references for row in (pair.liked, pair.disliked)]
    with record_preference_attention(count) as record:
        scorer.logits(packed, features([*rows, candidate.row]))
    of_candidate = packed.segments[0] == 1
    weights = record.stacked()[:, 0, :, count:]  # (layers, H, q, K)
    return weights[:, :, of_candidate.to(weights.device)].mean(dim=(0, 1, 2))
