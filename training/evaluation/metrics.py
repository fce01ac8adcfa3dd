"""Figures with their uncertainty: accuracy over pairs, intervals by bootstrap over users."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True)
class Figure:
    """A mean over users with its 95 % interval.

    Attributes:
        value: mean over users of each user's own mean.
        low, high: 2.5 % and 97.5 % quantiles of the mean over bootstrapped users.
        n_users: users in the mean.
        n_pairs: pairs judged in all.
    """

    value: float
    low: float
    high: float
    n_users: int
    n_pairs: int


def accuracy(margins: npt.NDArray[np.float64]) -> float:
    """Share of pairs told right: 1 where the margin is above 0, a half for a tie.

    Args:
        margins: shape (N,), score of the liked image less that of the disliked one.

    Raises:
        ValueError: if there is no pair.
    """
    if margins.size == 0:
        raise ValueError("accuracy needs at least one pair, got none")
    return float(np.mean(np.where(margins > 0, 1.0, np.where(margins == 0, 0.5, 0.0))))


def over_users(
    values: Sequence[float], *, n_pairs: int, seed: int = 0, num_draws: int = 2000
) -> Figure:
    """Mean over users and its interval: users are drawn anew with replacement.

    Args:
        values: one figure a user, or one paired difference a user.
        n_pairs: pairs behind all of them.
        seed: decides the draws.
        num_draws: bootstrap draws, at least 1.

    Raises:
        ValueError: if there is no user.
    """
    if len(values) == 0:
        raise ValueError("a figure over users needs at least one user, got none")
    array = np.asarray(values, dtype=np.float64)
    rng = np.random.default_rng(seed)
    means = array[rng.integers(0, len(array), (num_draws, len(array)))].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return Figure(float(array.mean()), float(low), float(high), len(array), n_pairs)
