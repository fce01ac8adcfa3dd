"""Folds keep users and prompts apart, and everybody is judged once."""

import numpy as np
import pytest

from recsys.history import Pair, select
from training.data.samples import PairTable, images_of
from training.evaluation.cross_validation import cross_validate, deal_folds

NUM_USERS, NUM_PROMPTS = 6, 9


def histories() -> PairTable:
    """Every user prefers one of two images of each prompt; half of them the other way round."""
    pairs = {}
    for user in range(NUM_USERS):
        turn = user % 2
        pairs[f"u{user}"] = tuple(
            Pair(2 * p + turn, 2 * p + 1 - turn, f"p{p}") for p in range(NUM_PROMPTS)
        )
    return PairTable(pairs, ("",) * (2 * NUM_PROMPTS))


def folds():
    return deal_folds(histories(), num_user_folds=2, num_prompt_folds=3, num_references=4)


def test_users_and_prompts_asked_about_are_in_nothing_learned() -> None:
    for fold in folds():
        prompts = {pair.prompt for sample in fold.samples.values() for pair in sample.pairs}
        assert not set(fold.samples) & set(fold.learned.pairs)
        for pairs in fold.learned.pairs.values():
            assert not prompts & {pair.prompt for pair in pairs}
        for sample in fold.samples.values():
            assert not prompts & {pair.prompt for pair in sample.references}
            assert not images_of(sample.references) & images_of(sample.pairs)


def test_references_are_selected_as_served_from_the_other_prompts() -> None:
    whole = histories()
    for fold in folds():
        for user, sample in fold.samples.items():
            others = [pair for pair in whole.pairs[user] if pair not in sample.pairs]
            assert len(others) > len(sample.references) == 4
            assert sample.references == select(others, 4)


def test_every_pair_of_every_user_is_asked_once() -> None:
    asked = [(u, p.prompt) for fold in folds() for u, s in fold.samples.items() for p in s.pairs]
    assert len(asked) == len(set(asked)) == NUM_USERS * NUM_PROMPTS


class Beauty:
    """Ignores the user."""

    name = "beauty"

    def scores(self, user_id, references, candidates):
        return np.array([float(each.row % 2) for each in candidates])


class Reader:
    """Reads off the references which of the two sides the user takes."""

    name = "reader"

    def scores(self, user_id, references, candidates):
        side = references[0].liked % 2
        return np.array([float(each.row % 2 == side) for each in candidates])


def test_answers_are_pooled_over_folds() -> None:
    figures = cross_validate(
        folds(), lambda number, fold: [Beauty(), Reader()], compared_with="reader"
    )
    assert figures["reader"].top1.value == 1.0
    assert figures["reader"].opposed.value == 1.0
    assert figures["beauty"].top1.value == 0.5
    assert figures["beauty"].opposed.value == 0.5
    assert figures["beauty"].ours_minus.value == 0.5
    assert figures["reader"].top1.n_pairs == NUM_USERS * NUM_PROMPTS


def test_more_folds_than_users_are_refused() -> None:
    with pytest.raises(ValueError, match="users must fill at least two folds"):
        deal_folds(histories(), num_user_folds=7, num_prompt_folds=3, num_references=4)
