"""Which gain counts where two checkpoints are compared alone and blended."""

import numpy as np
import pytest
import torch
from scipy.stats import ttest_1samp

from recsys.history import Pair
from training.data.samples import Sample
from training.evaluation.four_ways import WayAnswers, answer, compare_in_each_way
from training.evaluation.section import points

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


def test_a_model_is_asked_behind_all_that_it_reads_of_those_who_have_so_many(make_scorer) -> None:
    scorer = make_scorer(num_references=10).requires_grad_(False).eval()
    pairs = [Pair(2 * n, 2 * n + 1, f"prompt {n}", choice=n) for n in range(12)]
    samples = {
        user: Sample(tuple(pairs[:count]), tuple(pairs[10:]))
        for user, count in (("ann", 10), ("ben", 8), ("cyd", 10))
    }
    width = scorer.image_features([]).shape[1:]
    tokens = torch.randn(24, *width, generator=torch.Generator().manual_seed(1))
    answers = answer(scorer, lambda rows: tokens[list(rows)], samples, None).alone
    assert list(answers) == [0, 1, 2, 4, 8, 10]
    assert [list(each) for each in answers.values()] == [
        *[["ann", "ben", "cyd"]] * 5,
        ["ann", "cyd"],
    ]
    assert not np.allclose(answers[8]["ann"], answers[10]["ann"])


def test_what_some_alone_have_references_for_counts_for_them() -> None:
    wrong = dict.fromkeys((0, 4, 8), WRONG) | {24: {user: WRONG[user] for user in PEOPLE[:10]}}
    late = wrong | {24: {user: RIGHT[user] for user in PEOPLE[:10]}}
    compared = compare_in_each_way(WayAnswers(wrong, wrong), WayAnswers(wrong, late), None)
    assert compared.blended.over == (4, 8, 24)
    assert compared.gain.value == pytest.approx(10 / 40 / 3)
    assert compared.gain.n_users == 40
    rows = compared.grids()[0].rows
    assert [row[0] for row in rows] == ["0", "4", "8", "24 (10 people)"]
    assert compared.verdict()[1].startswith("gained in the blend, mean over 4, 8 and 24 references")


def test_what_is_printed_is_what_decides() -> None:
    """Of eight people whose gains are these the bootstrap's interval is above zero."""
    people = PEOPLE[:8]
    before = dict.fromkeys(people, np.full(8, -1.0))
    rights = (0, 0, 1, 0, 4, 5, 0, 6)
    after = {
        user: np.where(np.arange(8) < n, 1.0, -1.0) for user, n in zip(people, rights, strict=True)
    }
    compared = compare_in_each_way(WayAnswers({0: before}), WayAnswers({0: after}), None)
    assert compared.alone.by_references[0].gained.low > 0
    told = ttest_1samp(np.array(rights) / 8, 0).confidence_interval()
    assert (compared.gain.low, compared.gain.high) == pytest.approx((told.low, told.high))
    assert not compared.is_better
    assert points(compared.gain.low) in compared.verdict()[0]
