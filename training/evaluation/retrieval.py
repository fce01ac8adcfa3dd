"""How well vectors of users find who is like whom: near tastes, other halves, communities.

Axes: N users, E any width, A attributes of a taste.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from training.evaluation.metrics import Figure

NUM_NEAREST = 10
_ROWS_AT_ONCE = 1000

Vectors = Float[np.ndarray, "N E"]
ByUser = Float[np.ndarray, " N"]


@dataclass(frozen=True, eq=False)
class TasteScale:
    """What there is to be found among N users, whose tastes are known.

    Attributes:
        tastes: shape (N, A), of length 1.
        random: shape (N,), mean cosine of each taste to all others.
        best: shape (N,), the same to the nearest tastes.
    """

    tastes: Float[np.ndarray, "N A"]
    random: ByUser
    best: ByUser

    def found(self, vectors: Vectors) -> ByUser:
        """Mean cosine of true taste to the users whose vectors are nearest.

        Args:
            vectors: in the order of the tastes.
        """
        tastes, near = self.tastes, nearest(vectors)
        cosines: ByUser = np.einsum("na,nka->nk", tastes, tastes[near]).mean(axis=1)
        return cosines


def taste_scale(tastes: Float[np.ndarray, "N A"]) -> TasteScale:
    """Find out what random and what truly nearest users have in common with each.

    Args:
        tastes: true ones, of any length, of more users than are nearest.

    Raises:
        ValueError: if there are too few users.
    """
    unit, num_users = _unit(tastes), len(tastes)
    scale = TasteScale(unit, np.zeros(num_users), np.zeros(num_users))
    others = (unit @ unit.sum(axis=0) - 1) / (num_users - 1)
    return TasteScale(unit, others, scale.found(tastes))


def nearest(vectors: Vectors, count: int = NUM_NEAREST) -> Int[np.ndarray, "N k"]:
    """The others with the largest cosine to each, in no order.

    Args:
        vectors: a vector of length 0 is as near to one as to another.
        count: of each, fewer than there are users.

    Raises:
        ValueError: if there are not more users than that.
    """
    if len(vectors) <= count:
        raise ValueError(f"to find {count} others takes more users than that, got {len(vectors)}")
    unit = _unit(vectors)
    found = []
    for start in range(0, len(unit), _ROWS_AT_ONCE):
        cosines = unit[start : start + _ROWS_AT_ONCE] @ unit.T
        rows = np.arange(len(cosines))
        cosines[rows, start + rows] = -np.inf
        found.append(np.argpartition(-cosines, count - 1, axis=1)[:, :count])
    near: Int[np.ndarray, "N k"] = np.concatenate(found)
    return near


def reciprocal_ranks(first: Vectors, second: Vectors) -> ByUser:
    """One over the place of each user's other vector among all the others', by cosine.

    Users in a tie share the middle of their places.

    Args:
        first, second: of the two halves, paired by position.
    """
    one, other = _unit(first), _unit(second)
    ranks = []
    for start in range(0, len(one), _ROWS_AT_ONCE):
        cosines = one[start : start + _ROWS_AT_ONCE] @ other.T
        rows = np.arange(len(cosines))
        own = cosines[rows, start + rows][:, None]
        tied = (cosines == own).sum(axis=1) - 1
        ranks.append(1 + (cosines > own).sum(axis=1) + tied / 2)
    inverse: ByUser = 1 / np.concatenate(ranks)
    return inverse


def chance_of_ranks(num_users: int) -> float:
    """The mean reciprocal rank of a guess: (1 + 1/2 + ... + 1/N) / N."""
    return float((1 / np.arange(1, num_users + 1)).mean())


def cosines(first: Vectors, second: Vectors) -> ByUser:
    """Cosine of vectors paired by position."""
    own: ByUser = (_unit(first) * _unit(second)).sum(axis=1)
    return own


def ratio_of_means(
    above: ByUser, below: ByUser, *, n_pairs: int, seed: int = 0, num_draws: int = 2000
) -> Figure:
    """Mean of one over mean of the other, its interval by bootstrap over users.

    Each user's numbers are drawn as they are: who was near to them is not looked for again.

    Args:
        above, below: one number a user, paired by position.
        n_pairs: pairs behind all of them.
        seed: decides the draws.
        num_draws: of users with replacement, at least 1.
    """
    rng = np.random.default_rng(seed)
    drawn = rng.integers(0, len(above), (num_draws, len(above)))
    with np.errstate(divide="ignore", invalid="ignore"):  # nothing to be found: no number
        value = above.mean() / below.mean()
        ratios = above[drawn].mean(axis=1) / below[drawn].mean(axis=1)
    finite = ratios[np.isfinite(ratios)]
    low, high = np.quantile(finite, [0.025, 0.975]) if finite.size else (np.nan, np.nan)
    return Figure(float(value), float(low), float(high), len(above), n_pairs)


def adjusted_rand(one: Int[np.ndarray, " N"], other: Int[np.ndarray, " N"]) -> float:
    """How far two groupings of users agree: 1 wholly, 0 as by chance.  Hubert and Arabie, 1985.

    Args:
        one, other: labels of the same users, any integers.
    """
    _, rows = np.unique(one, return_inverse=True)
    _, columns = np.unique(other, return_inverse=True)
    table = np.zeros((rows.max() + 1, columns.max() + 1))
    np.add.at(table, (rows, columns), 1)
    together, in_one, in_other, among_all = (
        float((counts * (counts - 1) / 2).sum())
        for counts in (table, table.sum(axis=1), table.sum(axis=0), table.sum())
    )
    by_chance, most = in_one * in_other / max(among_all, 1.0), (in_one + in_other) / 2
    return 1.0 if most == by_chance else (together - by_chance) / (most - by_chance)


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Vectors = vectors / np.maximum(lengths, 1e-30)
    return unit
