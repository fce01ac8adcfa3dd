"""Errors over people and seeds against closed forms and simulation; detectable effects too."""

import numpy as np
import pytest
from scipy.stats import t as student
from scipy.stats import ttest_1samp

from training.claims.estimates import Estimate, crossed, nested, smallest_detectable


def test_with_many_degrees_the_normal_quantiles_add_up() -> None:
    assert smallest_detectable(0.5, 1_000_000) == pytest.approx(
        0.5 * (1.959964 + 0.841621), rel=1e-3
    )


def test_a_t_test_of_a_known_size_has_its_known_power() -> None:
    """Half a standard deviation needs 33.367 pairs (G*Power, and statsmodels' TTestPower)."""
    pairs = 33.3671
    assert smallest_detectable(pairs**-0.5, pairs - 1) == pytest.approx(0.5, abs=1e-4)


def test_few_degrees_detect_less() -> None:
    few, more, many = (smallest_detectable(1.0, degrees) for degrees in (2, 10, 1000))
    assert few > more > many > 2.8
    assert smallest_detectable(0.0, 2) == 0


def test_a_single_seed_is_a_paired_t_test() -> None:
    values = np.random.default_rng(0).normal(0.1, 1, (1, 40))
    known = ttest_1samp(values[0], 0).confidence_interval(0.95)
    assert crossed(values).interval == pytest.approx((known.low, known.high))


def test_people_and_seeds_that_add_up_have_the_sum_of_both_variances() -> None:
    people, seeds = np.array([0.0, 0.2, 0.4, 0.6]), np.array([[0.0], [0.3], [0.6]])
    estimate = crossed(people + seeds)
    parts = people.var(ddof=1) / 4, seeds.var(ddof=1) / 3
    assert estimate.value == pytest.approx(0.6)
    assert estimate.error == pytest.approx(sum(parts) ** 0.5)
    reach = (
        (student.ppf(0.975, 3) ** 2) * parts[0] + (student.ppf(0.975, 2) ** 2) * parts[1]
    ) ** 0.5
    assert estimate.interval == pytest.approx((0.6 - reach, 0.6 + reach))
    alone = [smallest_detectable(part**0.5, d) for part, d in zip(parts, (3, 2), strict=True)]
    assert estimate.detectable == pytest.approx(sum(each**2 for each in alone) ** 0.5)


def test_what_only_chance_makes_of_seeds_is_not_counted_twice() -> None:
    values = np.random.default_rng(1).normal(0, 1, (3, 4000))
    assert crossed(values).error == pytest.approx(12000**-0.5, rel=0.35)


@pytest.mark.parametrize("seed_spread", [0.0, 1.0])
def test_intervals_hold_the_truth_nineteen_times_in_twenty(seed_spread: float) -> None:
    rng = np.random.default_rng(2)

    def drawn() -> Estimate:
        people, seeds = rng.normal(0, 1, 60), rng.normal(0, seed_spread, (3, 1))
        return crossed(0.5 + people + seeds + rng.normal(0, 1, (3, 60)))

    held = [low <= 0.5 <= high for low, high in (drawn().interval for _ in range(600))]
    assert 0.93 <= np.mean(held) <= 0.99


@pytest.mark.parametrize("seed_spread", [0.0, 0.1])
def test_so_do_those_of_people_who_belong_to_a_seed(seed_spread: float) -> None:
    rng = np.random.default_rng(3)

    def drawn() -> Estimate:
        return nested([rng.normal(rng.normal(0.5, seed_spread), 1, 30) for _ in range(3)])

    held = [low <= 0.5 <= high for low, high in (drawn().interval for _ in range(600))]
    assert 0.93 <= np.mean(held) <= 0.99


def test_no_difference_at_all_is_zero_for_certain() -> None:
    estimate = crossed(np.zeros((3, 5)))
    assert estimate.interval == (0, 0)
    assert estimate.detectable == 0


def test_one_person_or_one_seed_is_not_enough() -> None:
    with pytest.raises(ValueError, match="at least two, got 1"):
        crossed(np.zeros((3, 1)))
    with pytest.raises(ValueError, match="two of each of two seeds"):
        nested([np.zeros(5)])
