"""How well vectors of users find neighbours: by true taste, and by the other half of a history.

Axes: N users, E any width, A attributes of a taste.
"""

from dataclasses import dataclass
from typing import cast

import numpy as np
from jaxtyping import Float, Int

from training.evaluation.metrics import NUM_DRAWS, Figure, interval_over_users, ratio

NUM_NEAREST = 10
_ROWS_AT_ONCE = 1000

UserVectors = Float[np.ndarray, "N E"]
UserValues = Float[np.ndarray, " N"]


@dataclass(frozen=True, eq=False)
class TasteScale:
    """What there is to be found among N users, whose tastes are known.

    Attributes:
        tastes: shape (N, A), of length 1.
        random: shape (N,), mean cosine of each taste to all others.
        best: shape (N,), the same to the nearest tastes.
    """

    tastes: Float[np.ndarray, "N A"]
    random: UserValues
    best: UserValues

    def shared(self, vectors: UserVectors) -> UserValues:
        """Mean cosine of true taste to the users whose vectors are nearest.

        Args:
            vectors: in the order of the tastes.
        """
        tastes, neighbours = self.tastes, nearest(vectors)
        return cast(UserValues, np.einsum("na,nka->nk", tastes, tastes[neighbours]).mean(axis=1))


def taste_scale(tastes: Float[np.ndarray, "N A"]) -> TasteScale:
    """Find out what random and what truly nearest users have in common with each.

    Args:
        tastes: true ones, of any length, of more users than are nearest.

    Raises:
        ValueError: if there are too few users.
    """
    own, num_users = unit(tastes), len(tastes)
    scale = TasteScale(own, np.zeros(num_users), np.zeros(num_users))
    others = (own @ own.sum(axis=0) - 1) / (num_users - 1)
    return TasteScale(own, others, scale.shared(tastes))


def nearest(vectors: UserVectors, count: int = NUM_NEAREST) -> Int[np.ndarray, "N k"]:
    """The others with the largest cosine to each, in no order.

    Args:
        vectors: a vector of length 0 is as near to one as to another.
        count: of each, fewer than there are users.

    Raises:
        ValueError: if there are not more users than that.
    """
    if len(vectors) <= count:
        raise ValueError(f"to find {count} others takes more users than that, got {len(vectors)}")
    own = unit(vectors)
    neighbours = []
    for start in range(0, len(own), _ROWS_AT_ONCE):
        cosines = own[start : start + _ROWS_AT_ONCE] @ own.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        neighbours.append(np.argpartition(-cosines, count - 1, axis=1)[:, :count])
    return np.concatenate(neighbours)


def reciprocal_ranks(first: UserVectors, second: UserVectors) -> UserValues:
    """One over the place of each user's other vector among all the others', by cosine.

    Users in a tie share the middle of their places.

    Args:
        first, second: of the two halves, paired by position.
    """
    one, other = unit(first), unit(second)
    ranks = []
    for start in range(0, len(one), _ROWS_AT_ONCE):
        cosines = one[start : start + _ROWS_AT_ONCE] @ other.T
        rows = np.arange(len(cosines))
        own = cosines[rows, start + rows][:, None]
        tied = (cosines == own).sum(axis=1) - 1
        ranks.append(1 + (cosines > own).sum(axis=1) + tied / 2)
    return 1 / np.concatenate(ranks)


def chance_of_ranks(num_users: int) -> float:
    """The mean reciprocal rank of a guess: (1 + 1/2 + ... + 1/N) / N."""
    return float((1 / np.arange(1, num_users + 1)).mean())


def cosines(first: UserVectors, second: UserVectors) -> UserValues:
    """Cosine of vectors paired by position."""
    return cast(UserValues, (unit(first) * unit(second)).sum(axis=1))


def ratio_of_means(
    above: UserValues, below: UserValues, *, n_pairs: int, seed: int = 0, num_draws: int = NUM_DRAWS
) -> Figure:
    """Mean of one over mean of the other, its interval by bootstrap over users.

    Each user's numbers are drawn as they are: neighbours are not searched for again.

    Args:
        above, below: one number a user, paired by position.
        n_pairs: pairs behind all of them.
        seed: decides the draws.
        num_draws: of users with replacement, at least 1.
    """
    low, high = interval_over_users(ratio, above, below, seed=seed, num_draws=num_draws)
    return Figure(float(ratio(above, below)), low, high, len(above), n_pairs)


def unit(vectors: UserVectors) -> UserVectors:
    """The same directions, of length 1; a vector of length 0 stays."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    return cast(UserVectors, vectors / np.maximum(lengths, 1e-30))
