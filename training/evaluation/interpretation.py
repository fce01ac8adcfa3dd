"""A look inside: where candidates attend to the preference tokens (paper, Fig. 3)."""

import base64

import numpy as np
import torch
from jaxtyping import Float

from recsys.images.header import read_header
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.attention_maps import ordered_attention
from recsys.signatures.orders import reorderings
from training.data.features import Features
from training.evaluation.questions import Samples
from training.predictors.predictor import CandidateRow

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
        references = sample.references
        rows = [row for pair in references for row in (pair.liked, pair.disliked)]
        attention = ordered_attention(
            scorer,
            features([*rows, candidate.row]),
            prompts=[pair.prompt for pair in references],
            candidate_prompt=candidate.prompt,
            orders=reorderings(len(references), num_orders=num_orders, seed=seed),
        )
        maps[user] = attention.float().cpu().numpy()
    return maps


def data_url(encoded: bytes) -> str:
    """An encoded image as a URL that stands for itself, so that a page needs no network."""
    return f"data:{read_header(encoded).media_type};base64,{base64.b64encode(encoded).decode()}"
