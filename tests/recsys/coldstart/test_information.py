"""What answers reveal, against a naive twin and the laws of information; choosing, with ties."""

from itertools import combinations, pairwise, product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.coldstart.information import MAX_PAIRS, choose_pairs, expected_information
from recsys.coldstart.latent_classes import LatentClasses

SEED = st.integers(0, 2**32 - 1)


def classes_of(tastes: np.ndarray, shares: np.ndarray) -> LatentClasses:
    some = np.ones(len(shares))
    return LatentClasses(tastes, shares, some, some)


def drawn(
    seed: int, *, num_pairs: int = 5, num_classes: int = 3
) -> tuple[LatentClasses, np.ndarray]:
    rng = np.random.default_rng(seed)
    tastes = rng.normal(0, 2, (num_classes, 4))
    return classes_of(tastes, rng.dirichlet(np.ones(num_classes))), rng.normal(0, 1, (num_pairs, 4))


def naive_bits(classes: LatentClasses, differences: np.ndarray) -> float:
    """Sum p(k, answers) log2 p(answers | k) / p(answers), answer by answer."""
    bits = 0.0
    for signs in product((1, -1), repeat=len(differences)):
        given_class = [
            np.prod(
                [
                    1 / (1 + np.exp(-s * (taste @ d)))
                    for s, d in zip(signs, differences, strict=True)
                ]
            )
            for taste in classes.tastes
        ]
        chance = sum(share * p for share, p in zip(classes.shares, given_class, strict=True))
        bits += sum(
            share * p * np.log2(p / chance)
            for share, p in zip(classes.shares, given_class, strict=True)
            if p > 0
        )
    return bits


def apart(num_pairs: int) -> np.ndarray:
    return np.arange(2 * num_pairs).reshape(-1, 2)


@settings(deadline=None, max_examples=25)
@given(SEED, st.integers(1, 5), st.integers(1, 4))
def test_information_is_that_of_the_naive_twin(seed: int, num_pairs: int, num_classes: int) -> None:
    classes, differences = drawn(seed, num_pairs=num_pairs, num_classes=num_classes)
    bits = expected_information(classes, differences)
    assert bits == pytest.approx(naive_bits(classes, differences), abs=1e-9)


@settings(deadline=None, max_examples=25)
@given(SEED)
def test_information_is_never_negative_grows_and_is_bounded(seed: int) -> None:
    classes, differences = drawn(seed, num_pairs=MAX_PAIRS)
    bits = [expected_information(classes, differences[:count]) for count in range(MAX_PAIRS + 1)]
    assert bits[0] == 0
    assert all(more >= less - 1e-12 for less, more in pairwise(bits))
    assert bits[-1] <= -(classes.shares @ np.log2(classes.shares)) + 1e-9


def test_by_hand_two_opposite_certain_classes_are_told_apart_by_one_answer() -> None:
    classes = classes_of(np.array([[1000.0], [-1000.0]]), np.array([0.5, 0.5]))
    assert expected_information(classes, np.array([[1.0]])) == pytest.approx(1.0)
    assert expected_information(classes, np.array([[0.0]])) == 0
    assert expected_information(classes, np.array([[1.0], [1.0]])) == pytest.approx(1.0)


@settings(deadline=None, max_examples=25)
@given(SEED)
def test_each_pick_adds_most_and_the_first_is_the_best_single_one(seed: int) -> None:
    classes, differences = drawn(seed, num_pairs=7)
    chosen, bits = choose_pairs(classes, differences, apart(7), num_pairs=4)
    picked: list[int] = []
    for row, so_far in zip(chosen, bits, strict=True):
        others = [index for index in range(7) if index not in picked]
        best = max(naive_bits(classes, differences[[*picked, index]]) for index in others)
        picked.append(row)
        assert so_far == pytest.approx(best, abs=1e-9)
        assert naive_bits(classes, differences[picked]) == pytest.approx(best, abs=1e-9)


def test_the_first_few_of_a_choice_are_the_choice_of_that_few() -> None:
    classes, differences = drawn(3, num_pairs=30)
    eight, bits = choose_pairs(classes, differences, apart(30), num_pairs=8)
    assert len(set(eight)) == 8
    for count in range(1, 8):
        few = choose_pairs(classes, differences, apart(30), num_pairs=count)
        assert few == (eight[:count], bits[:count])


def test_ties_go_to_the_pair_given_first() -> None:
    classes, differences = drawn(5, num_pairs=1)
    # The same pair, also the other way round, tells as much.
    same = np.concatenate([differences * 0, differences, -differences, differences])
    assert choose_pairs(classes, same, apart(4), num_pairs=1)[0] == [1]
    alone = classes_of(np.ones((1, 4)), np.ones(1))
    assert choose_pairs(alone, same, apart(4), num_pairs=4) == ([0, 1, 2, 3], [0.0] * 4)


def test_no_image_is_shown_twice() -> None:
    classes, differences = drawn(1, num_pairs=10)
    images = np.array(list(combinations(range(5), 2)))
    chosen, _ = choose_pairs(classes, differences, images, num_pairs=8)
    shown = images[chosen].ravel()
    assert len(chosen) == 2
    assert len(set(shown)) == 4


def test_nothing_to_choose_from() -> None:
    classes, differences = drawn(1)
    assert choose_pairs(classes, differences[:0], apart(0), num_pairs=3) == ([], [])


@pytest.mark.parametrize("num_pairs", [0, 9])
def test_numbers_out_of_range_are_refused(num_pairs: int) -> None:
    classes, differences = drawn(1, num_pairs=9)
    with pytest.raises(ValueError, match=f"1 to 8, got {num_pairs}"):
        choose_pairs(classes, differences, apart(9), num_pairs=num_pairs)
    with pytest.raises(ValueError, match="got 9"):
        expected_information(classes, differences)
