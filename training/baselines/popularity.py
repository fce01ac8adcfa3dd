"""Baselines without a model: chance, and other people's verdicts on the same image."""

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from recsys.history import Pair
from training.data.samples import PairTable
from training.predictors.predictor import CandidateRow, Scores

PRIOR_COMPARISONS = 2.0
"""Comparisons, half of them won, that every image is credited with."""


class Chance:
    """A random number for each (seed, user, image), always the same one.

    Args:
        seed: decides all numbers.
    """

    name = "random"

    def __init__(self, *, seed: int = 0) -> None:
        self._seed = seed

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """A number in [0, 1) for each candidate."""
        return np.array([self._number(user_id, each.row) for each in candidates])

    def _number(self, user_id: str, row: int) -> float:
        digest = hashlib.sha256(f"{self._seed}:{row}:{user_id}".encode()).digest()
        return int.from_bytes(digest[:8], "big") / 2**64


class MostLiked:
    """How many comparisons the image won with other people; new images tie at 0.

    Somebody who preferred it to three others counts three times.

    Args:
        known: everybody's pairs; a user's own are not counted for that user.
    """

    name = "most_liked"

    def __init__(self, known: PairTable) -> None:
        self._verdicts = _Verdicts(known)

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """Comparisons won with others, at least 0."""
        return np.array([self._verdicts.of_others(user_id, c.row)[0] for c in candidates])


class MeanRating:
    """Share of the comparisons that the image won with other people, shrunk towards a half.

    (likes + prior / 2) / (comparisons + prior)

    Args:
        known: everybody's pairs; a user's own are not counted for that user.
        prior: comparisons that every image is credited with.
    """

    name = "mean_rating"

    def __init__(self, known: PairTable, *, prior: float = PRIOR_COMPARISONS) -> None:
        self._verdicts = _Verdicts(known)
        self._prior = prior

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """A share in (0, 1), a half for an image that nobody else was shown."""
        counts = np.array([self._verdicts.of_others(user_id, c.row) for c in candidates])
        counts = counts.reshape(-1, 2)
        return np.asarray((counts[:, 0] + self._prior / 2) / (counts.sum(axis=1) + self._prior))


class _Verdicts:
    """Likes and dislikes of each image, by user where it matters."""

    def __init__(self, known: PairTable) -> None:
        self._total: dict[int, np.ndarray[tuple[int], np.dtype[np.float64]]] = {}
        self._own: Mapping[str, Sequence[Pair]] = known.pairs
        for pairs in known.pairs.values():
            for pair in pairs:
                for side, row in enumerate((pair.liked, pair.disliked)):
                    self._total.setdefault(row, np.zeros(2))[side] += 1

    def of_others(self, user_id: str, row: int) -> Scores:
        """Likes and dislikes by everybody else, shape (2,)."""
        if row not in self._total:
            return np.zeros(2)
        pairs = self._own.get(user_id, ())
        own = [sum(p.liked == row for p in pairs), sum(p.disliked == row for p in pairs)]
        return np.asarray(self._total[row] - np.array(own, dtype=np.float64))
