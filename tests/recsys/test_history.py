"""Which pairs the model reads of a history."""

from datetime import UTC, datetime
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.history import ReferencePair, num_pair_choices, references_of, select
from storage.records import Choice, History, StoredChoice

Act = tuple[str | None, tuple[str, ...]]


def history(*acts: Act) -> History:
    when = datetime(2026, 1, 1, tzinfo=UTC)
    choices = tuple(
        StoredChoice(n, n, Choice("ann", liked, passed, f"prompt {n}", when, "test"))
        for n, (liked, passed) in enumerate(acts, start=1)
    )
    return History("ann", len(choices), choices)


def test_no_history_gives_none() -> None:
    assert references_of(history()) == ()


def test_a_choice_gives_its_liked_image_and_the_first_passed_over() -> None:
    pairs = references_of(history(("a", ("b", "c"))), 1)
    assert pairs == (("a", "b", "prompt 1"),)
    assert pairs[0] == ReferencePair(liked="a", disliked="b", prompt="prompt 1")


def test_likes_alone_and_dislikes_alone_form_no_pair() -> None:
    assert references_of(history(("a", ()), (None, ("b", "c")))) == ()


def test_the_newest_are_taken_and_stand_oldest_first() -> None:
    pairs = references_of(history(*((f"l{n}", (f"d{n}",)) for n in range(5))), 3)
    assert [pair.liked for pair in pairs] == ["l2", "l3", "l4"]


def test_every_choice_gives_one_pair_before_any_gives_two() -> None:
    acts: list[Act] = [("a", ("a1", "a2", "a3")), ("b", ("b1", "b2")), ("c", ("c1",))]
    disliked = [[pair.disliked for pair in references_of(history(*acts), n)] for n in range(8)]
    assert disliked == [
        [],
        ["c1"],
        ["b1", "c1"],
        ["a1", "b1", "c1"],
        ["a1", "b1", "b2", "c1"],
        ["a1", "a2", "b1", "b2", "c1"],
        ["a1", "a2", "a3", "b1", "b2", "c1"],
        ["a1", "a2", "a3", "b1", "b2", "c1"],
    ]


def test_a_negative_number_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        references_of(history(), -1)


acts = st.lists(
    st.tuples(
        st.none() | st.sampled_from("abc"), st.lists(st.sampled_from("xyz"), max_size=3).map(tuple)
    )
)


@given(acts, st.integers(0, 6))
def test_the_newest_choices_that_hold_enough_pairs_are_enough(
    done: list[Act], num_references: int
) -> None:
    whole = references_of(history(*done), num_references)
    assert len(whole) == min(
        num_references, sum(len(passed) for liked, passed in done if liked is not None)
    )
    for start in range(len(done)):
        full = history(*done)
        window = History("ann", full.revision, full.choices[start:])
        if num_pair_choices([stored.choice for stored in window.choices]) >= num_references:
            assert references_of(window, num_references) == whole


class Placed(NamedTuple):
    """A pair by its place alone."""

    choice: int
    nth: int


placed = st.lists(st.integers(1, 3), max_size=6).map(
    lambda sizes: [Placed(number, nth) for number, size in enumerate(sizes) for nth in range(size)]
)


@given(placed, st.integers(0, 9), st.integers(0, 9))
def test_a_selection_of_a_selection_is_that_of_the_whole(
    pairs: list[Placed], many: int, few: int
) -> None:
    few = min(few, many)
    assert select(select(pairs, many), few) == select(pairs, few)


@given(placed, st.integers(0, 9), st.randoms(use_true_random=False))
def test_another_order_keeps_one_pair_of_each_choice_before_any_second(
    pairs: list[Placed], count: int, random
) -> None:
    order = random.sample(range(len(pairs)), len(pairs))
    chosen = select(pairs, count, order=order)
    assert len(chosen) == min(count, len(pairs))
    first = [
        pair
        for number, pair in enumerate(chosen)
        if pair.choice not in {earlier.choice for earlier in chosen[:number]}
    ]
    assert chosen[: len(first)] == tuple(first)
    assert [pairs.index(pair) for pair in first] == sorted(map(pairs.index, first), key=order.index)
    if len(chosen) > len(first):
        assert {pair.choice for pair in first} == {pair.choice for pair in pairs}


def test_of_pairs_in_one_place_the_later_one_is_newer() -> None:
    pairs = [Placed(0, 0), Placed(0, 0), Placed(0, 0)]
    assert [id(each) for each in select(pairs, 2)] == [id(each) for each in pairs[1:]]
