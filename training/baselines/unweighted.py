"""Every baseline that needs no public weights."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from training.baselines.crowd import MatrixFactorisation, UserNeighbours
from training.baselines.linear import LinearTaste
from training.baselines.popularity import Chance, MeanRating, MostLiked
from training.data.features import Features
from training.data.samples import PairTable
from training.predictors.predictor import Predictor


def without_weights(known: PairTable, features: Features, *, seed: int = 0) -> list[Predictor]:
    """Baselines over what may be known.

    Args:
        known: everybody's pairs but those that are asked.
        features: image tokens; side by side they are the embedding of the linear taste.
        seed: of those that draw.
    """

    def embed(rows: Sequence[int]) -> Float[np.ndarray, "N E"]:
        return np.asarray(features(rows).flatten(1).float().cpu())

    return [
        Chance(seed=seed),
        MostLiked(known),
        MeanRating(known),
        UserNeighbours(known),
        MatrixFactorisation(known, seed=seed),
        LinearTaste(embed),
    ]
