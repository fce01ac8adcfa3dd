"""What stands out and what is chance: an exact test, and a correction for many of them."""

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.special import gammaln
from scipy.stats import hypergeom

MAX_Q = 0.05
"""Of all that is said to stand out, at most this share is chance, in expectation."""

PValues = Float[np.ndarray, " N"]


def exact_p(hits: Any, size: Any, all_hits: Any, all_size: Any) -> Any:
    """Return how likely a group's hits are to be so many, or so few, if the group does not matter.

    Twice the smaller tail of the hypergeometric distribution, at most 1: Fisher's exact test.

    Args:
        hits: of the group; integers or arrays, like the three below.
        size: of the group, at least hits.
        all_hits: of everyone, the group included.
        all_size: of everyone, the group included.
    """
    upper = hypergeom.sf(np.asarray(hits) - 1, all_size, all_hits, size)
    lower = hypergeom.cdf(hits, all_size, all_hits, size)
    return np.minimum(1, 2 * np.minimum(upper, lower))


def smallest_p(size: Any, all_hits: Any, all_size: Any) -> Any:
    """Return the p-value of the most extreme hits that a group of this size could have.

    Where it is above `MAX_Q`, no outcome could stand out: such a test is not counted among those
    that were made.  Tarone 1990.
    """
    size, all_hits, all_size = (
        np.asarray(each, dtype=float) for each in (size, all_hits, all_size)
    )
    fewest = np.maximum(0, size + all_hits - all_size)
    most = np.minimum(size, all_hits)
    ends = [_log_probability(hits, size, all_hits, all_size) for hits in (fewest, most)]
    return np.minimum(1, 2 * np.exp(np.minimum(*ends)))


def q_values(p: PValues, num_tests: int) -> PValues:
    """Return the false discovery rate at which each of the smallest p-values is told.

    q of the i-th smallest is the least of p_j num_tests / j over j >= i, at most 1.  Benjamini and
    Hochberg 1995.  p-values above `MAX_Q` may be left out: no q at most `MAX_Q` depends on them.

    Args:
        p: shape (N,), each 0 to 1, in any order.
        num_tests: all that were made, at least N.

    Raises:
        ValueError: if there are more p-values than tests.
    """
    if len(p) > num_tests:
        raise ValueError(f"num_tests must be at least {len(p)}, the p-values, got {num_tests}")
    order = np.argsort(p, kind="stable")
    scaled = p[order] * (num_tests / np.arange(1, len(p) + 1))
    q = np.empty(len(p))
    q[order] = np.minimum(1, np.minimum.accumulate(scaled[::-1])[::-1])
    return q


def _log_probability(hits: Any, size: Any, all_hits: Any, all_size: Any) -> Any:
    ways = _log_choose(all_hits, hits) + _log_choose(all_size - all_hits, size - hits)
    return ways - _log_choose(all_size, size)


def _log_choose(n: Any, k: Any) -> Any:
    return gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
