"""A linear taste for each user, fitted on differences of image embeddings."""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float
from sklearn.linear_model import LogisticRegression

from recsys.history import Pair
from training.predictors.predictor import CandidateRow, Scores

Embed = Callable[[Sequence[int]], Float[np.ndarray, "N E"]]
"""Rows of the image table -> embeddings."""

STRENGTH = 0.1
"""Inverse regularisation C: eight pairs against hundreds of numbers need a strong prior."""


class LinearTaste:
    """Logistic regression on (liked - disliked) embeddings of the user's references.

    P(x preferred to y) = sigmoid(w · (x - y)): Bradley-Terry with a linear utility. Differences
    are scaled to unit variance over the references, so the regularisation means the same at any
    scale of the embedding (not for any number of coordinates).

    Args:
        embed: embeddings by row.
        strength: inverse regularisation, above 0.
    """

    name = "linear"

    def __init__(self, embed: Embed, *, strength: float = STRENGTH) -> None:
        self._embed = embed
        self._strength = strength

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """Utilities w · x; all 0 for a user without references."""
        if not references or not candidates:
            return np.zeros(len(candidates))
        liked = self._embed([pair.liked for pair in references])
        disliked = self._embed([pair.disliked for pair in references])
        differences = (liked - disliked).astype(np.float64)
        scale = float(differences.std()) or 1.0
        model = LogisticRegression(C=self._strength, fit_intercept=False, max_iter=1000)
        model.fit(
            np.concatenate([differences, -differences]) / scale,
            np.repeat([1, 0], len(differences)),
        )
        rows = self._embed([each.row for each in candidates]).astype(np.float64)
        # Summed row by row: a matrix product rounds otherwise when there are more rows.
        return np.asarray((rows * model.coef_[0]).sum(axis=1) / scale)
