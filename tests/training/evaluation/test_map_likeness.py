"""The number of Fig. 3 on planted maps, beside loops over pairs, and where it must find nothing."""

from dataclasses import fields
from itertools import product

import numpy as np
import pytest

from training.evaluation.map_likeness import (
    Cosines,
    cosines_of_maps,
    likeness,
    over_pairs,
    scale_of,
)
from training.evaluation.metrics import interval_over_users

NUM_PEOPLE, NUM_ORDERS, NUM_IMAGES, WIDTH = 60, 3, 2, 12


def planted(seed: int = 0, *, strength: float = 1.0):
    """Maps of people of four communities, whose centres they lie around; and the communities."""
    rng = np.random.default_rng(seed)
    communities = rng.integers(0, 4, NUM_PEOPLE)
    centres = rng.normal(size=(4, 1, NUM_IMAGES, WIDTH))
    people = strength * centres[communities] + rng.normal(size=(NUM_PEOPLE, 1, NUM_IMAGES, WIDTH))
    return people + 0.1 * rng.normal(size=(NUM_PEOPLE, NUM_ORDERS, NUM_IMAGES, WIDTH)), communities


def everybody(count: int = NUM_PEOPLE) -> np.ndarray:
    return np.ones((count, count), dtype=bool)


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_cosines_are_those_of_loops_over_orders_and_images() -> None:
    maps, _ = planted()
    others = maps[:, :2] + 0.3
    found = cosines_of_maps(maps, others)
    orders = list(product(range(NUM_ORDERS), repeat=2))

    def mean(one, other, pairs) -> float:
        return np.mean(
            [cosine(one[a, c], other[b, c]) for a, b in pairs for c in range(NUM_IMAGES)]
        )

    assert found.between[3, 7] == pytest.approx(mean(maps[3], maps[7], orders))
    apart = [(a, b) for a, b in orders if a != b]
    assert found.other_orders[3] == pytest.approx(mean(maps[3], maps[3], apart))
    with_others = list(product(range(NUM_ORDERS), range(2)))
    assert found.other_choices[3] == pytest.approx(mean(maps[3], others[3], with_others))


def test_the_mean_person_is_taken_off_and_what_all_share_stays_finite() -> None:
    maps, _ = planted()
    maps[..., 0] = 5.0
    standard = scale_of(maps)(maps)
    np.testing.assert_allclose(standard.mean(axis=(0, 1)), 0, atol=1e-12)
    np.testing.assert_allclose(standard.std(axis=(0, 1))[:, 1:], 1)
    np.testing.assert_array_equal(standard[..., 0], 0)


def test_planted_communities_are_found_and_dealt_ones_are_not() -> None:
    maps, communities = planted()
    found = likeness(cosines_of_maps(maps, maps), communities, everybody(), n_pairs=1)
    assert found.difference.low > 0.2
    assert found.control.low < 0 < found.control.high
    difference = found.same_community.value - found.other_community.value
    assert found.difference.value == pytest.approx(difference)
    assert found.other_orders.value > 0.9


def test_exchanged_labels_find_nothing() -> None:
    maps, communities = planted()
    cosines = cosines_of_maps(maps, maps)
    wrong = np.random.default_rng(3).permutation(communities)
    found = likeness(cosines, wrong, everybody(), n_pairs=1)
    assert found.difference.low < 0 < found.difference.high


def test_maps_without_communities_find_nothing() -> None:
    maps, communities = planted(strength=0.0)
    found = likeness(cosines_of_maps(maps, maps), communities, everybody(), n_pairs=1)
    assert found.difference.low < 0 < found.difference.high


def test_the_order_of_people_does_not_matter() -> None:
    maps, communities = planted()
    turned = np.random.default_rng(1).permutation(NUM_PEOPLE)
    one, other = (
        likeness(cosines_of_maps(maps[o], maps[o]), communities[o], everybody(), n_pairs=1)
        for o in (np.arange(NUM_PEOPLE), turned)
    )
    for each in fields(one):
        if each.name != "control":  # it is dealt by place
            values = [getattr(found, each.name) for found in (one, other)]
            assert values[0].value == pytest.approx(values[1].value)
            assert values[0].low == pytest.approx(values[1].low, abs=0.03)


def test_only_those_who_are_counted_count() -> None:
    maps, communities = planted()
    some = np.arange(NUM_PEOPLE) < 40
    cosines = cosines_of_maps(maps, maps)
    found = likeness(cosines, communities, some[:, None] & some, n_pairs=1)
    alone = cosines_of_maps(maps[some], maps[some])
    expected = likeness(alone, communities[some], everybody(40), n_pairs=1)
    assert found.difference.value == pytest.approx(expected.difference.value)
    assert found.other_orders == expected.other_orders
    assert found.difference.n_users == 40
    across = likeness(cosines, communities, some[:, None] != some, n_pairs=1)
    assert (across.other_orders, across.other_choices) == (None, None)
    assert across.difference.n_users == NUM_PEOPLE


def test_nothing_is_said_of_a_single_community() -> None:
    maps, communities = planted()
    cosines = cosines_of_maps(maps, maps)
    assert likeness(cosines, np.zeros_like(communities), everybody(), n_pairs=1) is None
    assert likeness(cosines, np.arange(NUM_PEOPLE), everybody(), n_pairs=1) is None


def test_people_are_drawn_on_both_sides_of_a_pair() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(12, 12))
    values += values.T
    mask = ~np.eye(12, dtype=bool)

    def by_loops(drawn: np.ndarray, axis: int = -1) -> np.ndarray:
        rows = np.moveaxis(np.asarray(drawn), axis, -1).astype(int).reshape(-1, 12)
        means = [
            np.mean([values[a, b] for a, b in product(each, repeat=2) if a != b]) for each in rows
        ]
        return np.reshape(means, drawn.shape[:-1])[()]

    found = over_pairs(values, [mask], n_pairs=5)
    assert found.value == pytest.approx(values[mask].mean())
    expected = interval_over_users(by_loops, np.arange(12.0))
    assert (found.low, found.high) == pytest.approx(expected)
    assert (found.n_users, found.n_pairs) == (12, 5)


def test_a_pair_of_two_people_has_no_interval_wider_than_itself() -> None:
    cosines = Cosines(np.array([[1.0, 0.25], [0.25, 1.0]]), np.ones(2), np.ones(2))
    found = over_pairs(cosines.between, [~np.eye(2, dtype=bool)], n_pairs=2)
    assert (found.low, found.value, found.high) == (0.25, 0.25, 0.25)
