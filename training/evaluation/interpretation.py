"""A look inside: where candidates attend to the preference tokens (paper, Fig. 3)."""

import base64
from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Float

from recsys.images.header import read_header
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.attention_maps import (
    NUM_ORDERS,
    MapReading,
    choice_effects,
    ordered_attention,
)
from recsys.signatures.definition import Head
from recsys.signatures.orders import reorderings
from recsys.signatures.probes import Probes
from training.data.features import Features
from training.evaluation.history_cuts import Pairs
from training.predictors.predictor import CandidateRow


@torch.no_grad()
def attention_maps(
    scorer: PreferenceScorer,
    features: Features,
    people: Sequence[Pairs],
    candidates: Sequence[CandidateRow],
    *,
    heads: Sequence[Head],
    reading: MapReading = "log_ratio",
    of_choices: bool = True,
    num_orders: int = NUM_ORDERS,
    seed: int = 0,
    progress: Callable[[int], None] = lambda done: None,
) -> Float[np.ndarray, "N O C A K"]:
    """How the same images attend to the preference tokens behind N people's references (Fig. 3).

    Args:
        scorer: with at least one preference token.
        features: image tokens.
        people: references of each, at least one person.
        candidates: the C images that all people get.
        heads: whose attention is read as a log-ratio, at least one.
        reading: as a log-ratio, or as printed, where A is 1.
        of_choices: what the choices change (`choice_effects`), or else the attention as it is.
        num_orders: re-orderings of the references; the first is as given.
        seed: decides the others.
        progress: called with the people done so far.

    Raises:
        ValueError: as `ordered_attention`.
    """
    tokens = features([each.row for each in candidates])
    shown = Probes(tuple(each.prompt for each in candidates), tokens)
    read, maps = choice_effects if of_choices else ordered_attention, []
    for done, references in enumerate(people, start=1):
        attention = read(
            scorer,
            features([row for pair in references for row in (pair.liked, pair.disliked)]),
            shown,
            prompts=[pair.prompt for pair in references],
            orders=reorderings(len(references), num_orders=num_orders, seed=seed),
            heads=heads,
            reading=reading,
        )
        maps.append(attention.double().cpu().numpy())
        progress(done)
    return np.stack(maps)


def data_url(encoded: bytes) -> str:
    """An encoded image as a URL that stands for itself, so that a page needs no network."""
    return f"data:{read_header(encoded).media_type};base64,{base64.b64encode(encoded).decode()}"
