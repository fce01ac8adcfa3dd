"""Measures of finding people: against naive twins, closed forms and planted neighbours."""

import numpy as np
import pytest

from training.evaluation import retrieval
from training.evaluation.retrieval import (
    chance_of_ranks,
    cosines,
    nearest,
    ratio_of_means,
    reciprocal_ranks,
    taste_scale,
)


def people(num_users: int, seed: int = 0, width: int = 9) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_users, width))


def share(scale, vectors) -> float:
    gains, span = scale.shared(vectors) - scale.random, scale.best - scale.random
    return float(gains.mean() / span.mean())


@pytest.mark.parametrize("rows_at_once", [1000, 7])
def test_the_nearest_are_those_of_a_sort(monkeypatch, rows_at_once: int) -> None:
    monkeypatch.setattr(retrieval, "_ROWS_AT_ONCE", rows_at_once)
    vectors = people(30)
    for row, neighbours in enumerate(nearest(vectors, 4)):
        own = cosines(np.tile(vectors[row], (30, 1)), vectors)
        own[row] = -2.0
        assert set(neighbours) == set(np.argsort(-own)[:4])


def test_nobody_is_near_to_themself() -> None:
    alike = np.ones((12, 3))
    assert all(row not in neighbours for row, neighbours in enumerate(nearest(alike)))
    assert all(row not in neighbours for row, neighbours in enumerate(nearest(0.0 * alike)))


def test_too_few_users_are_refused() -> None:
    with pytest.raises(ValueError, match="to find 10 others takes more users than that, got 10"):
        taste_scale(people(10))


def test_tastes_themselves_are_one_and_chance_is_about_nothing() -> None:
    tastes = people(400)
    scale = taste_scale(tastes)
    assert share(scale, tastes) == pytest.approx(1.0)
    assert share(scale, 3.0 * tastes @ np.linalg.qr(people(9, seed=1))[0]) == pytest.approx(1.0)
    assert abs(share(scale, people(400, seed=2))) < 0.05
    assert 0.1 < share(scale, tastes + people(400, seed=3)) < 0.9


def test_random_users_are_all_the_others() -> None:
    tastes = people(15)
    unit = tastes / np.linalg.norm(tastes, axis=1, keepdims=True)
    others = [np.mean([unit[a] @ unit[b] for b in range(15) if b != a]) for a in range(15)]
    np.testing.assert_allclose(taste_scale(tastes).random, others)


@pytest.mark.parametrize("rows_at_once", [1000, 2])
def test_ranks_are_one_over_the_place(monkeypatch, rows_at_once: int) -> None:
    monkeypatch.setattr(retrieval, "_ROWS_AT_ONCE", rows_at_once)
    first = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    second = np.array([[2.0, 0.0], [1.0, 0.2], [0.0, 3.0]])
    np.testing.assert_allclose(reciprocal_ranks(first, second), [1, 1 / 2, 1 / 3])


def test_where_all_are_alike_everybody_is_in_the_middle() -> None:
    alike = np.ones((9, 2))
    np.testing.assert_allclose(reciprocal_ranks(alike, alike), 1 / 5)


def test_a_guess_finds_the_other_half_as_often_as_is_said() -> None:
    drawn = [reciprocal_ranks(people(40, seed=n), people(40, seed=n + 500)) for n in range(60)]
    assert np.mean(drawn) == pytest.approx(chance_of_ranks(40), rel=0.1)
    assert chance_of_ranks(2) == (1 + 1 / 2) / 2


def test_a_ratio_is_that_of_the_means_within_its_interval() -> None:
    rng = np.random.default_rng(0)
    below = rng.uniform(1.0, 2.0, 200)
    above = 0.3 * below + rng.normal(0.0, 0.1, 200)
    ratio = ratio_of_means(above, below, n_pairs=5)
    assert ratio.value == above.mean() / below.mean()
    assert ratio.low < 0.3 < ratio.high
    assert ratio.high - ratio.low < 0.05
    assert (ratio.n_users, ratio.n_pairs) == (200, 5)


def test_nothing_to_be_found_is_no_number_and_no_warning() -> None:
    ratio = ratio_of_means(np.zeros(5), np.zeros(5), n_pairs=0)
    assert np.isnan([ratio.value, ratio.low, ratio.high]).all()
