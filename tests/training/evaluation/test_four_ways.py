"""Which gain counts where two checkpoints are compared alone and blended."""

import numpy as np
import pytest

from training.evaluation.four_ways import WayAnswers, compare_in_each_way

PEOPLE = [f"u{n}" for n in range(40)]
RIGHT, WRONG = (dict.fromkeys(PEOPLE, np.full(4, sign)) for sign in (1.0, -1.0))


def test_a_gain_counts_with_its_interval() -> None:
    before = WayAnswers(dict.fromkeys((0, 8), WRONG))
    some = {user: (RIGHT if n % 2 else WRONG)[user] for n, user in enumerate(PEOPLE)}
    few = {user: (RIGHT if n == 0 else WRONG)[user] for n, user in enumerate(PEOPLE)}
    better, hardly = (
        compare_in_each_way(before, WayAnswers(dict.fromkeys((0, 8), each)), None)
        for each in (some, few)
    )
    assert better.is_better
    assert better.decided_by == "model"
    assert better.gain.value == pytest.approx(0.5)
    assert better.alone.by_references[8].after.value == pytest.approx(0.5)
    assert hardly.gain.value > 0
    assert not hardly.is_better


def test_where_others_lend_the_gain_of_the_blend_behind_four_and_eight_counts() -> None:
    right, wrong = (dict.fromkeys((0, 1, 2, 4, 8), each) for each in (RIGHT, WRONG))
    early = wrong | {0: RIGHT, 1: RIGHT, 2: RIGHT}
    late = wrong | {8: RIGHT}
    alone, new, old = (
        compare_in_each_way(WayAnswers(wrong, wrong), WayAnswers(after, blended), None)
        for after, blended in ((right, wrong), (wrong, early), (wrong, late))
    )
    assert {each.decided_by for each in (alone, new, old)} == {"blend"}
    assert not alone.is_better
    assert alone.alone.mean.value == pytest.approx(1)
    assert not new.is_better
    assert old.is_better
    assert old.gain.value == pytest.approx(0.5)
    assert [each.endswith("this decides") for each in old.verdict()] == [False, True]
