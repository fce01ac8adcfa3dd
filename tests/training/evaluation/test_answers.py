"""Figures from predictors whose answers are known."""

from collections.abc import Callable

import numpy as np
import pytest

from recsys.history import Pair
from training.data.samples import PairTable, Sample
from training.evaluation.answers import (
    answer_as_paper,
    difference,
    hits_of_four,
    margins,
    opposed_accuracy,
    pair_scores,
    top1,
    top_of_four,
    unpaired_difference,
)
from training.evaluation.questions import OneOfFour, Opposed, opposed_samples
from training.predictors.predictor import CandidateRow, Predictor


class Rule:
    """A predictor that follows a function of user and row."""

    def __init__(self, rule: Callable[[str, int], float]) -> None:
        self.name = "rule"
        self.rule = rule

    def scores(self, user_id, references, candidates):
        return np.array([self.rule(user_id, each.row) for each in candidates], dtype=np.float64)


def pair(liked: int, disliked: int) -> Pair:
    return Pair(liked, disliked, "")


SAMPLES = {
    "a": Sample((), (pair(1, 0), pair(3, 2))),
    "b": Sample((), tuple(pair(2 * n + 1, 2 * n) for n in range(40))),
}


def test_the_rule_is_a_predictor() -> None:
    assert isinstance(Rule(lambda user, row: 0.0), Predictor)


def test_top1_counts_each_user_alike() -> None:
    right_for_a = Rule(lambda user, row: row if user == "a" else -row)
    figure = top1(margins(pair_scores(right_for_a, SAMPLES)))
    assert figure.value == (1.0 + 0.0) / 2
    assert (figure.n_users, figure.n_pairs) == (2, 42)


def test_a_tie_is_worth_a_half() -> None:
    assert top1(margins(pair_scores(Rule(lambda user, row: 1.0), SAMPLES))).value == 0.5


def test_many_targets_are_asked_in_several_questions() -> None:
    asked = []

    class Counting(Rule):
        def scores(self, user_id, references, candidates):
            asked.append(len(candidates))
            return super().scores(user_id, references, candidates)

    scores = pair_scores(Counting(lambda user, row: float(row)), SAMPLES)
    assert asked == [4, 32, 32, 16]
    np.testing.assert_array_equal(scores["b"][:, 0], np.arange(40) * 2 + 1)


def test_a_paired_difference_is_over_users_in_common() -> None:
    first = {"a": np.array([1.0, 1.0]), "b": np.array([1.0, -1.0]), "c": np.array([1.0])}
    second = {"a": np.array([1.0, -1.0]), "b": np.array([-1.0, -1.0])}
    figure = difference(first, second)
    assert figure.value == pytest.approx((0.5 + 0.5) / 2)
    assert (figure.n_users, figure.n_pairs) == (2, 4)


def test_an_unpaired_difference_needs_somebody_in_each_group() -> None:
    some = {"a": np.array([1.0, 1.0]), "b": np.array([1.0, -1.0])}
    assert unpaired_difference(some, {"c": np.array([-1.0])}).value == 0.75
    with pytest.raises(ValueError, match="somebody in each"):
        unpaired_difference(some, {})


def test_top_of_four_by_rank_and_by_the_share_of_ties() -> None:
    question = OneOfFour((), CandidateRow(0, ""), tuple(CandidateRow(n, "") for n in (1, 2, 3)))
    second_best = Rule(lambda user, row: {0: 2.0, 1: 3.0}.get(row, 0.0))
    figure = top_of_four(hits_of_four(second_best, {"a": [question]}))
    assert [figure[f"top{n}"].value for n in (1, 2, 3)] == [0.0, 1.0, 1.0]
    tied = top_of_four(hits_of_four(Rule(lambda user, row: 0.0), {"a": [question]}))
    assert [tied[f"top{n}"].value for n in (1, 2, 3)] == [0.25, 0.5, 0.75]


def test_the_papers_count_is_of_questions_and_not_of_users() -> None:
    """One user is asked three times and always right, another once and wrong."""
    liked_first = Rule(lambda user, row: float(row if user == "right" else -row))
    pairs = {"right": (Pair(1, 0, ""), Pair(3, 2, ""), Pair(5, 4, "")), "wrong": (Pair(1, 0, ""),)}
    samples = {user: Sample((Pair(8, 9, ""),), own) for user, own in pairs.items()}
    of_four = {
        user: [
            OneOfFour((), CandidateRow(p.liked, ""), tuple(CandidateRow(0, "") for _ in range(3)))
            for p in own
        ]
        for user, own in pairs.items()
    }
    seen, unseen = ({user: samples[user]} for user in ("wrong", "right"))
    answered = answer_as_paper(liked_first, unseen, seen, of_four)
    assert (answered.top1.value, answered.top1.n_users, answered.top1.n_pairs) == (0.75, 2, 4)
    assert (answered.unseen.value, answered.seen.value) == (1.0, 0.0)
    assert [answered.of_four[f"top{n}"].value for n in (1, 2, 3)] == [0.75, 0.75, 0.75]
    assert {name: each.value for name, each in answered.by_references.items()} == {
        "0": 0.75,
        "1": 0.75,
    }
    assert answered.top1.low == 0.0
    assert answered.top1.high == 1.0


def opposed_world() -> tuple[PairTable, list[Opposed]]:
    rng = np.random.default_rng(0)
    pairs: dict[str, list[Pair]] = {f"u{n}": [] for n in range(30)}
    opposed = []
    for number in range(40):
        first, second = (f"u{n}" for n in rng.choice(30, 2, replace=False))
        each = Opposed(first, second, pair(2 * number, 2 * number + 1))
        pairs[first].append(each.pair)
        pairs[second].append(pair(2 * number + 1, 2 * number))
        opposed.append(each)
    return PairTable({u: tuple(p) for u, p in pairs.items()}, ("",) * 80), opposed


def test_whatever_ignores_the_user_gets_exactly_half_of_opposed_pairs() -> None:
    histories, opposed = opposed_world()
    samples = opposed_samples(histories, opposed, num_references=0)
    rng = np.random.default_rng(1)
    beauty = rng.normal(size=80)
    answers = margins(pair_scores(Rule(lambda user, row: beauty[row]), samples))
    figure = opposed_accuracy(opposed, samples, answers)
    assert (figure.value, figure.low, figure.high) == (0.5, 0.5, 0.5)
    assert figure.n_pairs == 80


def test_whoever_knows_the_user_gets_all_opposed_pairs() -> None:
    histories, opposed = opposed_world()
    samples = opposed_samples(histories, opposed, num_references=0)
    liked = {(user, p.liked) for user, s in samples.items() for p in s.pairs}
    knows = Rule(lambda user, row: float((user, row) in liked))
    assert opposed_accuracy(opposed, samples, margins(pair_scores(knows, samples))).value == 1.0


def test_opposed_pairs_need_two_who_disagree() -> None:
    with pytest.raises(ValueError, match="disagree"):
        opposed_accuracy([], {}, {})
