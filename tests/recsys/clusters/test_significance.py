"""Chance and what is not: p-values by their definition, q-values against SciPy's correction."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import false_discovery_control, hypergeom

from recsys.clusters.significance import MAX_Q, exact_p, q_values, smallest_p

TABLE = st.tuples(*[st.integers(0, 30)] * 4).filter(lambda table: sum(table) > 0)


def margins(table: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
    """Hits and misses of the group, and of the others -> the arguments of `exact_p`."""
    hits, misses, other_hits, _ = table
    return hits, hits + misses, hits + other_hits, sum(table)


def test_the_p_value_by_hand() -> None:
    # All four of a group and none of four others: one way of C(8, 4) = 70, and two tails.
    assert exact_p(*np.array([[4], [4], [4], [8]]))[0] == pytest.approx(2 / 70)
    assert smallest_p(4, 4, 8) == pytest.approx(2 / 70)
    assert smallest_p(3, 3, 7) > MAX_Q


@given(TABLE)
def test_no_outcome_is_more_extreme_than_the_smallest(table: tuple[int, int, int, int]) -> None:
    _, size, all_hits, all_size = margins(table)
    outcomes = np.arange(max(0, size + all_hits - all_size), min(size, all_hits) + 1)
    p = exact_p(outcomes, size, all_hits, all_size)
    assert p.min() == pytest.approx(float(smallest_p(size, all_hits, all_size)), rel=1e-6)


@given(TABLE)
def test_p_is_no_smaller_than_chance_would_have_it(table: tuple[int, int, int, int]) -> None:
    """Where the group does not matter, p falls below a level no more often than the level says."""
    _, size, all_hits, all_size = margins(table)
    outcomes = np.arange(max(0, size + all_hits - all_size), min(size, all_hits) + 1)
    p = exact_p(outcomes, size, all_hits, all_size)
    probability = hypergeom.pmf(outcomes, all_size, all_hits, size)
    for level in (0.01, 0.05, 0.5):
        assert probability[p <= level].sum() <= level + 1e-9


@given(st.lists(st.floats(0, 1), max_size=40), st.integers(0, 500))
def test_q_values_are_those_of_all_tests(small: list[float], num_others: int) -> None:
    kept = np.array([p for p in small if p <= MAX_Q])
    left_out = [p for p in small if p > MAX_Q] + [1.0] * num_others
    everything = np.array([*kept, *left_out])
    expected = false_discovery_control(everything)[: len(kept)] if len(everything) else kept
    values = q_values(kept, len(everything))
    stands_out = expected <= MAX_Q
    assert ((values <= MAX_Q) == stands_out).all()
    np.testing.assert_allclose(values[stands_out], expected[stands_out])


def test_more_p_values_than_tests_are_refused() -> None:
    with pytest.raises(ValueError, match="num_tests must be at least 2, the p-values, got 1"):
        q_values(np.array([0.1, 0.2]), 1)
