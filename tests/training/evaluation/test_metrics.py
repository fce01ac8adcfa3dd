"""Figures against hand counts, and intervals that cover."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from training.evaluation.metrics import (
    Figure,
    accuracy,
    decisive_over_users,
    interval_over_users,
    over_users,
)


def test_a_tie_counts_half() -> None:
    assert accuracy(np.array([0.2, -0.1, 0.0, 1.0])) == (1 + 0 + 0.5 + 1) / 4


def test_no_pairs_no_accuracy() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        accuracy(np.array([]))


def test_the_mean_lies_in_its_interval_and_users_are_counted() -> None:
    figure = over_users([0.5, 0.75, 1.0, 0.25], n_pairs=32)
    assert figure.value == 0.625
    assert figure.low < 0.625 < figure.high
    assert (figure.n_users, figure.n_pairs) == (4, 32)


def test_users_alike_leave_no_doubt() -> None:
    figure = over_users([0.7] * 9, n_pairs=9)
    assert figure.low == pytest.approx(0.7)
    assert figure.high == pytest.approx(0.7)


def test_intervals_cover_the_truth_about_as_often_as_they_say() -> None:
    rng = np.random.default_rng(3)
    drawn = [over_users(rng.normal(0.6, 0.1, 60).tolist(), n_pairs=1, seed=i) for i in range(200)]
    covered = np.mean([figure.low <= 0.6 <= figure.high for figure in drawn])
    assert 0.89 <= covered <= 0.99


def test_no_users_no_figure() -> None:
    with pytest.raises(ValueError, match="at least one user"):
        over_users([], n_pairs=0)


def test_an_interval_is_the_quantiles_of_drawn_means() -> None:
    values = np.random.default_rng(1).random(50)
    drawn = np.random.default_rng(4).integers(0, 50, (2000, 50))
    figure = over_users(values.tolist(), n_pairs=1, seed=4)
    assert (figure.low, figure.high) == tuple(
        np.quantile(values[drawn].mean(axis=1), [0.025, 0.975])
    )


def test_columns_of_the_same_users_are_drawn_together() -> None:
    values = np.random.default_rng(1).random(50)
    low, high = interval_over_users(less, values + 0.25, values)
    assert low == pytest.approx(0.25)
    assert high == pytest.approx(0.25)
    low, high = interval_over_users(less, values + 0.25, values, is_paired=False)
    assert low < 0.2
    assert high > 0.3


def test_a_single_user_has_no_interval_and_nobody_else_is_needed() -> None:
    figure = over_users([0.75], n_pairs=8)
    assert (figure.value, figure.low, figure.high) == (0.75, 0.75, 0.75)


def test_a_difference_the_other_way_round_turns_its_interval_too() -> None:
    assert -Figure(0.1, -0.2, 0.3, 4, 5) == Figure(-0.1, -0.3, 0.2, 4, 5)


def less(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
    return first.mean(axis=axis) - second.mean(axis=axis)


def test_draws_without_a_value_are_left_out_without_a_warning() -> None:
    def ratio(above: np.ndarray, below: np.ndarray, axis: int = -1) -> np.ndarray:
        with np.errstate(divide="ignore", invalid="ignore"):
            return above.mean(axis=axis) / below.mean(axis=axis)

    seldom = np.array([0.0, 0.0, 0.0, 2.0])
    low, high = interval_over_users(ratio, np.ones(4), seldom)
    assert 0.5 <= low < high <= 2.0
    assert np.isnan(interval_over_users(ratio, np.ones(4), np.zeros(4))).all()


@pytest.mark.parametrize("num_users", [8, 60])
def test_what_decides_is_wrong_as_seldom_as_it_says_of_few_users_too(num_users: int) -> None:
    values = np.random.default_rng(3).normal(size=(4000, num_users))
    lows = [decisive_over_users(own.tolist(), n_pairs=1).low for own in values]
    assert np.mean(np.array(lows) > 0) == pytest.approx(0.025, abs=0.0075)  # three errors of 4,000


def test_what_decides_has_the_interval_of_the_t_test() -> None:
    values = [0.25, -0.125, 0.5, 0.0, 0.125]
    figure = decisive_over_users(values, n_pairs=40)
    told = ttest_1samp(values, 0).confidence_interval()
    assert (figure.low, figure.high) == pytest.approx((told.low, told.high))
    assert (figure.value, figure.n_users, figure.n_pairs) == (pytest.approx(0.15), 5, 40)
    assert not decisive_over_users([1.0], n_pairs=8).low > 0, "one user decides nothing"
