"""Differences between cells, over people and seeds, and the smallest that could have been seen.

People and seeds are both drawn: others might have been asked, and other runs made. The variance
over people is known well, that over a few seeds badly, so each part counts by Student's quantile of
its own degrees of freedom (Howe, 1974, for the sum of two).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy.optimize import brentq
from scipy.stats import nct
from scipy.stats import t as student

POWER, LEVEL = 0.8, 0.05
"""Of the smallest difference that is said to be detectable: a test of two sides."""

_MOST_DEGREES = 10_000
"""Beyond these, Student's distribution is normal for all that is printed."""


@dataclass(frozen=True)
class Variance:
    """One part of the variance of a mean.

    Attributes:
        value: at least 0.
        degrees: of freedom that it was estimated with, at least 1.
    """

    value: float
    degrees: int


@dataclass(frozen=True)
class Estimate:
    """A difference between two ways to train, on the same people.

    Attributes:
        value: the difference.
        over_people: variance of it over people, or populations.
        over_seeds: what seeds add to that; none where there is one.
        num_units: people, or populations.
        num_seeds: runs of either way.
    """

    value: float
    over_people: Variance
    over_seeds: Variance | None
    num_units: int
    num_seeds: int

    @property
    def error(self) -> float:
        """The standard error, over people and seeds."""
        return math.sqrt(sum(part.value for part in self._parts))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval."""
        reach = math.hypot(*(_limit(p.degrees) * math.sqrt(p.value) for p in self._parts))
        return self.value - reach, self.value + reach

    @property
    def detectable(self) -> float:
        """The smallest true difference that is told from zero with a probability of `POWER`."""
        return math.hypot(
            *(smallest_detectable(math.sqrt(p.value), p.degrees) for p in self._parts)
        )

    @property
    def _parts(self) -> tuple[Variance, ...]:
        return (
            (self.over_people,) if self.over_seeds is None else (self.over_people, self.over_seeds)
        )


def smallest_detectable(error: float, degrees: float | int) -> float:
    """The difference at which a t test of two sides at 5 % has a power of 80 %.

    The difference divided by its error follows Student's distribution around a mean that is not 0;
    for many degrees of freedom the answer is (1.960 + 0.842) errors.

    Args:
        error: standard error, at least 0.
        degrees: of freedom of the error, at least 1.
    """
    degrees = min(degrees, _MOST_DEGREES)
    limit = _limit(degrees)

    def lacking(mean: float) -> float:
        return float(nct.sf(limit, degrees, mean)) - POWER  # the other side has a millionth

    return error * float(brentq(lacking, 0.0, 10 * limit))


def crossed(values: Float[np.ndarray, "S U"]) -> Estimate:
    """The mean of a table of seeds by people, both of them drawn.

    V_u and V_s are the variances of the mean over people and over seeds, V_us is that of what
    neither explains. V_u and V_s have it both, so seeds add max(0, V_s - V_us).

    Args:
        values: a difference for each seed and person (or population), at least two of the latter.
            Of a single seed the error is that over people alone.

    Raises:
        ValueError: if there are fewer than two people.
    """
    num_seeds, num_units = values.shape
    if num_units < 2:
        raise ValueError(f"an error over people needs at least two, got {num_units}")
    mean = float(values.mean())
    by_unit, by_seed = values.mean(axis=0), values.mean(axis=1)
    people = Variance(float(by_unit.var(ddof=1)) / num_units, num_units - 1)
    if num_seeds == 1:
        return Estimate(mean, people, None, num_units, 1)
    rest = values - by_unit - by_seed[:, None] + mean
    both = float((rest**2).sum()) / ((num_seeds - 1) * (num_units - 1) * num_seeds * num_units)
    added = max(float(by_seed.var(ddof=1)) / num_seeds - both, 0.0)
    return Estimate(mean, people, Variance(added, num_seeds - 1), num_units, num_seeds)


def nested(values: Sequence[Float[np.ndarray, " _"]]) -> Estimate:
    """The mean over seeds of values of people who each belong to one seed.

    Args:
        values: of the people of each seed, at least two of them; at least two seeds.

    Raises:
        ValueError: if there are fewer.
    """
    if len(values) < 2 or min(map(len, values)) < 2:
        raise ValueError("people who belong to seeds must be at least two of each of two seeds")
    num_seeds, num_units = len(values), sum(map(len, values))
    means = np.array([own.mean() for own in values])
    within = sum(float(own.var(ddof=1)) / len(own) for own in values) / num_seeds**2
    added = max(float(means.var(ddof=1)) / num_seeds - within, 0.0)
    return Estimate(
        float(means.mean()),
        Variance(within, num_units - num_seeds),
        Variance(added, num_seeds - 1),
        num_units,
        num_seeds,
    )


def _limit(degrees: float | int) -> float:
    """How many errors from zero are significant."""
    return float(student.ppf(1 - LEVEL / 2, degrees))
