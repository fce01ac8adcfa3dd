"""Figures with their uncertainty: accuracy over pairs, intervals by bootstrap over users.

Where an interval decides, it is Student's: the bootstrap's is too narrow for few users.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from warnings import catch_warnings, simplefilter

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from scipy.stats import DegenerateDataWarning, bootstrap, t

NUM_DRAWS = 2000
QUANTILES = (0.025, 0.975)

Statistic = Any
"""A number, or one for each bootstrap draw: numpy's reductions give either."""


@dataclass(frozen=True)
class Figure:
    """A mean over users with its 95 % interval.

    Attributes:
        value: mean over users of each user's own mean; where that is said, the share of all
            questions, in which a user counts as often as asked.
        low, high: 2.5 % and 97.5 % quantiles of the same over bootstrapped users; of
            `decisive_over_users` the bounds of Student's interval.
        n_users: users in the mean.
        n_pairs: pairs judged in all.
    """

    value: float
    low: float
    high: float
    n_users: int
    n_pairs: int

    def __neg__(self) -> "Figure":
        """The same difference the other way round."""
        return Figure(-self.value, -self.high, -self.low, self.n_users, self.n_pairs)


def is_right(margins: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 where a margin is above 0, a half for a tie, else 0."""
    return np.where(margins > 0, 1.0, np.where(margins == 0, 0.5, 0.0))


def accuracy(margins: npt.NDArray[np.float64]) -> float:
    """Share of pairs ranked correctly, as `is_right`.

    Args:
        margins: shape (N,), score of the liked image less that of the disliked one.

    Raises:
        ValueError: if there is no pair.
    """
    if margins.size == 0:
        raise ValueError("accuracy needs at least one pair, got none")
    return float(np.mean(is_right(margins)))


def over_users(
    values: Sequence[float], *, n_pairs: int, seed: int = 0, num_draws: int = NUM_DRAWS
) -> Figure:
    """Mean over users and its interval: users are drawn with replacement.

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
    low, high = interval_over_users(_mean, array, seed=seed, num_draws=num_draws)
    return Figure(float(array.mean()), low, high, len(array), n_pairs)


def decisive_over_users(values: Sequence[float], *, n_pairs: int) -> Figure:
    """Mean over users and Student's 95 % interval, by which something is decided.

    mean ± t(0.975; N - 1) s / sqrt(N): of no effect, 2.5 % of the intervals are above zero. The
    bootstrap's leaves out sqrt(N / (N - 1)) and the tails of t, and is above zero in 5 % at N = 8.

    Args:
        values: one figure a user, or one paired difference a user.
        n_pairs: pairs behind all of them.

    Returns:
        The figure; of a single user the bounds are NaN, which decides nothing.

    Raises:
        ValueError: if there is no user.
    """
    if len(values) == 0:
        raise ValueError("a figure over users needs at least one user, got none")
    array = np.asarray(values, dtype=np.float64)
    mean, half = float(array.mean()), float("nan")
    if len(array) > 1:
        deviation = float(array.std(ddof=1))
        half = float(t.ppf(QUANTILES[1], len(array) - 1)) * deviation / float(np.sqrt(len(array)))
    return Figure(mean, mean - half, mean + half, len(array), n_pairs)


def over_questions(answers: Sequence[Float[np.ndarray, " _"]]) -> Figure:
    """Share of all questions that were answered rightly, and its interval over users.

    Args:
        answers: of each user, at least one; in [0, 1], 1 for right.

    Raises:
        ValueError: if there is no user.
    """
    if len(answers) == 0:
        raise ValueError("a figure over questions needs at least one user, got none")
    rights = np.array([own.sum() for own in answers], dtype=np.float64)
    counts = np.array([own.size for own in answers], dtype=np.float64)
    low, high = interval_over_users(ratio, rights, counts)
    return Figure(float(ratio(rights, counts)), low, high, len(answers), int(counts.sum()))


def interval_over_users(
    statistic: Callable[..., Statistic],
    *columns: Float[np.ndarray, " _"],
    seed: int | Sequence[int] = 0,
    num_draws: int = NUM_DRAWS,
    is_paired: bool = True,
) -> tuple[float, float]:
    """95 % percentile interval of a statistic over users drawn with replacement.

    Draws without a finite value (a ratio with nothing below the line) are left out.

    Args:
        statistic: of the columns' means along `axis`, a keyword that it must accept.
        columns: one number a user each.
        seed: decides the draws.
        num_draws: at least 1.
        is_paired: whether the columns are of the same users, who are then drawn together.

    Returns:
        Low and high; NaN where no draw has a value. Of a single user both are the statistic.
    """
    # scipy refuses a single user: drawn with replacement, that one is drawn again and again.
    columns = tuple(np.repeat(each, 2) if len(each) == 1 else each for each in columns)
    with catch_warnings(), np.errstate(invalid="ignore"):
        simplefilter("ignore", DegenerateDataWarning)  # draws without a value are left out below
        drawn = bootstrap(
            columns,
            statistic,
            n_resamples=num_draws,
            paired=is_paired and len(columns) > 1,
            vectorized=True,
            method="percentile",
            rng=seed,
        ).bootstrap_distribution
    finite = drawn[np.isfinite(drawn)]
    if not finite.size:
        return float("nan"), float("nan")
    low, high = np.quantile(finite, QUANTILES)
    return float(low), float(high)


def ratio(above: np.ndarray, below: np.ndarray, axis: int = -1) -> Statistic:
    """Mean of one over mean of the other; not finite where there is nothing below the line."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return above.mean(axis=axis) / below.mean(axis=axis)


def _mean(values: np.ndarray, axis: int = -1) -> Statistic:
    return values.mean(axis=axis)
