"""Collaborative filtering over choices: nearest users, and factors of users and images.

Both know an image only by who chose it: an image that nobody is known to have chosen scores 0.
"""

from collections.abc import Sequence

import numpy as np
from scipy import sparse

from recsys.history import Pair
from training.data.samples import PairTable
from training.predictors.predictor import CandidateRow, Scores

NUM_NEIGHBOURS = 40
SHRINKAGE = 4.0
"""Images in common at which an agreement is shrunk by half."""

NUM_FACTORS = 4
"""More of them overfit where users or choices are few."""

NUM_SWEEPS = 20
REGULARISATION = 0.1


class UserNeighbours:
    """Verdicts of the users who agree or disagree most with this one (user-based k-NN).

    A user's verdict on an image is the sign of likes less dislikes. The agreement of two users is
    the mean product of their verdicts on images both were shown, shrunk by n / (n + 4); the
    verdicts of users who disagree are inverted. An image is judged by the nearest of those who
    were shown it.

    Args:
        known: everybody's pairs; a user's own are not used for that user.
        num_neighbours: whose verdicts on an image count, at most.
    """

    name = "user_knn"

    def __init__(self, known: PairTable, *, num_neighbours: int = NUM_NEIGHBOURS) -> None:
        self._users = {user: place for place, user in enumerate(known.pairs)}
        self._num_images = len(known.images)
        self._num_neighbours = num_neighbours
        rows = [_verdicts(pairs, self._num_images) for pairs in known.pairs.values()]
        self._all = sparse.vstack(rows, format="csr") if rows else None

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """A weighted mean of verdicts in [-1, 1]; 0 where no neighbour was shown the image."""
        if self._all is None or not references:
            return np.zeros(len(candidates))
        own = _verdicts(references, self._num_images)
        agreement = (self._all @ own.T).toarray()[:, 0]
        shared = (abs(self._all) @ abs(own).T).toarray()[:, 0]
        weights = agreement / (shared + SHRINKAGE)
        if user_id in self._users:
            weights[self._users[user_id]] = 0.0
        order = np.argsort(-np.abs(weights), kind="stable")
        neighbours = order[weights[order] != 0]
        columns = self._all[neighbours][:, [each.row for each in candidates]]
        asked = np.ascontiguousarray(columns.toarray().T)  # (C, neighbours)
        asked[np.cumsum(asked != 0, axis=1) > self._num_neighbours] = 0.0
        # Summed image by image: a matrix product rounds otherwise when there are more of them,
        # and ties would break.
        votes = (weights[neighbours] * asked).sum(axis=1)
        total = np.abs(weights[neighbours] * asked).sum(axis=1)
        return np.asarray(np.divide(votes, total, out=np.zeros_like(votes), where=total > 0))


class MatrixFactorisation:
    """Factors of users and of images, by alternating least squares on likes (`implicit`).

    Hu, Koren & Volinsky, 2008. A user is folded in by the references alone, but the images' factors
    are learned from everybody's likes, the user's known pairs included.

    Args:
        known: pairs of at least one user.
        num_factors: of each user and image, at least 1.
        seed: of the factors.

    Raises:
        ValueError: if there is no user.
    """

    name = "matrix_factorisation"

    def __init__(self, known: PairTable, *, num_factors: int = NUM_FACTORS, seed: int = 0) -> None:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        if not known.pairs:
            raise ValueError("factors need at least one user, got none: import choices")
        self._num_images = len(known.images)
        likes = sparse.vstack(
            [_likes(pairs, self._num_images) for pairs in known.pairs.values()], format="csr"
        )
        self._known = np.asarray(likes.sum(axis=0))[0] > 0
        with threadpool_limits(1):  # the model warns as it is made of a BLAS of several threads
            self._model = AlternatingLeastSquares(
                factors=num_factors,
                regularization=REGULARISATION,
                iterations=NUM_SWEEPS,
                random_state=seed,
                num_threads=1,
            )
            self._model.fit(likes, show_progress=False)

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """Products of factors; 0 for an image that nobody is known to have liked."""
        rows = np.array([each.row for each in candidates], dtype=int)
        if not references or rows.size == 0:
            return np.zeros(len(candidates))
        factors = self._model.recalculate_user(0, _likes(references, self._num_images))
        own = np.asarray(factors, dtype=np.float64).reshape(-1)
        # Summed row by row: a matrix product rounds otherwise when there are more rows.
        products = (self._model.item_factors[rows].astype(np.float64) * own).sum(axis=1)
        return np.where(self._known[rows], products, 0.0)


def _verdicts(pairs: Sequence[Pair], num_images: int) -> sparse.csr_matrix:
    """Sign of likes less dislikes by image, shape (1, N)."""
    rows = [row for pair in pairs for row in (pair.liked, pair.disliked)]
    signs = [sign for _ in pairs for sign in (1.0, -1.0)]
    summed = sparse.csr_matrix((signs, ([0] * len(rows), rows)), shape=(1, num_images))
    return summed.sign()


def _likes(pairs: Sequence[Pair], num_images: int) -> sparse.csr_matrix:
    """1 for each image liked, shape (1, N)."""
    rows = sorted({pair.liked for pair in pairs})
    ones = np.ones(len(rows), dtype=np.float32)
    return sparse.csr_matrix((ones, ([0] * len(rows), rows)), shape=(1, num_images))
