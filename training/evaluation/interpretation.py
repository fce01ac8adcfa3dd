"""A look inside: words near the preference tokens, and where targets attend (Tab. 7, Fig. 3)."""

import base64
from collections.abc import Callable, Sequence
from typing import Any

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

NUM_WORDS = 5
NUM_ORDERS = 5
NUM_USERS = 4


def nearest_words(
    scorer: PreferenceScorer, words: Sequence[str], *, num_words: int = NUM_WORDS
) -> list[dict[str, Any]]:
    """For each preference token, the vocabulary's nearest words by Euclidean distance (Tab. 7).

    Args:
        scorer: with K preference tokens.
        words: the vocabulary, one entry a row of the embedding; empty text is left out.
        num_words: of each token.

    Returns:
        For each token its number and its words with their distances, nearest first.
    """
    table = scorer.backbone.embed(torch.arange(len(words), device=scorer.backbone.device))
    # By products of matrices, small distances would be rounded away.
    distances = torch.cdist(
        scorer.preference_tokens.float(),
        table.float(),
        compute_mode="donot_use_mm_for_euclid_dist",
    )
    distances[:, [not word for word in words]] = torch.inf
    near = distances.topk(min(num_words, len(words)), largest=False)
    return [
        {
            "token": token,
            "words": [
                [words[int(index)], float(distance)]
                for distance, index in zip(near.values[token], near.indices[token], strict=True)
            ],
        }
        for token in range(len(distances))
    ]


@torch.no_grad()
def attention_maps(
    scorer: PreferenceScorer,
    features: Features,
    samples: Samples,
    target: CandidateRow,
    *,
    num_orders: int = NUM_ORDERS,
    seed: int = 0,
) -> dict[str, Float[np.ndarray, "O K"]]:
    """How the same target attends to the preference tokens behind each user's references (Fig. 3).

    Eq. 6, averaged over the target's tokens, heads and layers; each row sums to 1.

    Args:
        scorer: with at least one preference token.
        features: image tokens.
        samples: users and their references.
        target: the image that all users get.
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
            _attention(scorer, features, [sample.references[i] for i in order], target)
            for order in orders
        ]
        maps[user] = torch.stack(rows).cpu().numpy()
    return maps


def attention_block(
    scorer: PreferenceScorer,
    features: Features,
    samples: Samples,
    *,
    stored: Callable[[int], bytes],
    num_users: int = NUM_USERS,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Attention maps of the first users on the first one's first target, for the report.

    Args:
        scorer, features, samples, seed: as in `attention_maps`.
        stored: row -> the encoded image, to be shown beside the maps.
        num_users: at most.
    """
    few = dict(list(samples.items())[:num_users])
    first = next(iter(few.values())).pairs[0]
    target = CandidateRow(first.liked, first.prompt)
    maps = attention_maps(scorer, features, few, target, seed=seed)
    encoded = stored(target.row)
    picture = base64.b64encode(encoded).decode()
    address = f"data:{inspect(encoded).media_type};base64,{picture}"
    return [{"user": user, "image": address, "maps": rows.tolist()} for user, rows in maps.items()]


def _attention(
    scorer: PreferenceScorer,
    features: Features,
    references: Sequence[Pair],
    target: CandidateRow,
) -> Tensor:
    template, count = scorer.template, scorer.config.num_preference_tokens
    packed = pack(
        [template.prefix([pair.prompt for pair in references])],
        [[template.candidate(target.prompt)]],
        first_position=count,
    )
    rows = [row for pair in references for row in (pair.liked, pair.disliked)]
    with record_preference_attention(count) as record:
        scorer.logits(packed, features([*rows, target.row]))
    of_target = packed.segments[0] == 1
    weights = record.stacked()[:, 0, :, count:]  # (layers, H, q, K)
    return weights[:, :, of_target.to(weights.device)].mean(dim=(0, 1, 2))
