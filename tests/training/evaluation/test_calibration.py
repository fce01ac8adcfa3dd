"""Calibration by hand arithmetic, and a temperature that was put in found again."""

import numpy as np
import pytest

from training.evaluation.calibration import (
    HIGHEST_TEMPERATURE,
    LOWEST_TEMPERATURE,
    Bin,
    calibrate,
    expected_calibration_error,
    fit_temperature,
    negative_log_likelihood,
    reliability,
)


def test_bins_hold_mean_score_share_liked_and_count() -> None:
    scores = np.array([0.1, 0.2, 0.9, 1.0])
    liked = np.array([False, True, True, True])
    low, high = reliability(scores, liked, num_bins=2)
    assert (low.score, low.liked, low.count) == (pytest.approx(0.15), 0.5, 2)
    assert (high.score, high.liked, high.count) == (pytest.approx(0.95), 1.0, 2)


def test_the_error_is_weighed_by_count() -> None:
    bins = [Bin(0.2, 0.5, 3), Bin(0.9, 0.8, 1)]
    assert expected_calibration_error(bins) == pytest.approx(0.75 * 0.3 + 0.25 * 0.1)


@pytest.mark.parametrize("temperature", [0.4, 1.0, 3.0])
def test_a_temperature_that_was_put_in_is_found(temperature: float) -> None:
    rng = np.random.default_rng(0)
    true = rng.normal(0, 2, 40_000)
    liked = rng.random(40_000) < 1 / (1 + np.exp(-true))
    assert fit_temperature(true * temperature, liked) == pytest.approx(temperature, rel=0.05)


def test_no_other_temperature_is_likelier() -> None:
    rng = np.random.default_rng(1)
    logits = rng.normal(0, 3, 500)
    liked = rng.random(500) < 0.5 + 0.2 * np.sign(logits)
    best = fit_temperature(logits, liked)
    at_best = negative_log_likelihood(logits, liked, best)
    for factor in (0.5, 0.9, 1.1, 2.0):
        assert at_best < negative_log_likelihood(logits, liked, best * factor)


def test_scores_without_an_error_and_without_any_sense_stay_in_range() -> None:
    logits = np.array([1.0, -1.0, 2.0, -2.0])
    right = logits > 0
    assert fit_temperature(logits, right) == pytest.approx(LOWEST_TEMPERATURE, rel=0.1)
    assert fit_temperature(logits, ~right) == pytest.approx(HIGHEST_TEMPERATURE, rel=0.1)


def test_empty_input_and_logits_for_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="needs a label"):
        reliability(np.zeros(0), np.zeros(0, dtype=bool))
    with pytest.raises(ValueError, match="needs a label"):
        fit_temperature(np.zeros(0), np.zeros(0, dtype=bool))
    with pytest.raises(ValueError, match="pass Q"):
        reliability(np.array([1.5]), np.array([True]))


def test_scaling_by_the_fitted_temperature_lowers_the_error() -> None:
    rng = np.random.default_rng(2)
    true = rng.normal(0, 1, 4000)
    liked = rng.random(4000) < 1 / (1 + np.exp(-true))
    logits = 4 * true
    result = calibrate(logits[liked], logits[~liked], temperature=4.0)
    assert result.ece > 0.15
    assert result.ece_scaled < 0.04
    assert sum(each.count for each in result.bins) == 4000


def test_what_has_no_answer_is_refused_not_called_perfect() -> None:
    liked = np.array([True, False])
    with pytest.raises(ValueError, match="at least one bin"):
        expected_calibration_error([])
    with pytest.raises(ValueError, match="num_bins"):
        reliability(np.array([0.5, 0.4]), liked, num_bins=0)
    with pytest.raises(ValueError, match="above 0"):
        negative_log_likelihood(np.ones(2), liked, 0.0)


@pytest.mark.parametrize("odd", [np.nan, np.inf, -np.inf])
def test_logits_that_are_no_numbers_do_not_become_a_temperature(odd: float) -> None:
    with pytest.raises(ValueError, match="1 of 2"):
        fit_temperature(np.array([1.0, odd]), np.array([True, False]))


def test_labels_all_alike_stay_in_range() -> None:
    all_liked = np.array([True, True])
    right = fit_temperature(np.array([1.0, 2.0]), all_liked)
    wrong = fit_temperature(np.array([-1.0, -2.0]), all_liked)
    assert right == pytest.approx(LOWEST_TEMPERATURE, rel=0.1)
    assert wrong == pytest.approx(HIGHEST_TEMPERATURE, rel=0.1)


def test_likelihood_by_hand() -> None:
    logits, liked = np.array([2.0, 2.0]), np.array([True, False])
    by_hand = (np.log(1 + np.exp(-1)) + np.log(1 + np.exp(1))) / 2
    assert negative_log_likelihood(logits, liked, 2.0) == pytest.approx(by_hand)
