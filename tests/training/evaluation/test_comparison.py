"""What each person's answers behind fewer and more references count for."""

import numpy as np
import pytest

from training.evaluation.comparison import compare, mean_top1, means_by_person

RIGHT, WRONG = np.ones(4), -np.ones(4)


def test_everybody_counts_the_same_however_many_references_they_have() -> None:
    people = [f"u{n}" for n in range(10)]
    wrong = dict.fromkeys((0, 8), dict.fromkeys(people, WRONG)) | {24: {"u0": WRONG}}
    for_one = wrong | {24: {"u0": RIGHT}}
    for_most = wrong | {8: dict.fromkeys(people[:5], RIGHT) | dict.fromkeys(people[5:], WRONG)}
    assert means_by_person(for_one) == {"u0": pytest.approx(1 / 3)} | dict.fromkeys(people[1:], 0.0)
    assert mean_top1(for_one) == pytest.approx(1 / 3 / 10)
    assert mean_top1(for_most) == pytest.approx((1 / 3 + 4 / 2) / 10)
    for after in (for_one, for_most):
        gained = mean_top1(after) - mean_top1(wrong)
        assert compare(wrong, after).mean.value == pytest.approx(gained)


def test_a_mean_over_some_numbers_leaves_out_who_has_none_of_them() -> None:
    answers = {8: {"ann": RIGHT, "ben": WRONG}, 24: {"ann": WRONG}}
    assert means_by_person(answers, over=[24]) == {"ann": 0.0}
