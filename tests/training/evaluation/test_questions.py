"""Questions and controls over histories made by hand."""

from dataclasses import replace

import pytest

from recsys.history import Pair
from training.data.samples import PairTable, Sample, images_of
from training.evaluation.questions import (
    behind_strangers,
    disliked_first,
    exchanged_in_place,
    find_opposed,
    in_random_pair_order,
    newest_samples,
    one_of_four,
    opposed_samples,
    random_samples,
    swapped,
    with_references,
    without_prompts,
)


def pair(liked: int, disliked: int, at: float = 0.0) -> Pair:
    return Pair(liked, disliked, f"prompt {liked}", at)


def histories(**pairs: list[Pair]) -> PairTable:
    return PairTable({user: tuple(own) for user, own in pairs.items()}, ("",) * 100)


def chain(first: int, count: int) -> list[Pair]:
    """Pairs that share no image."""
    return [pair(first + 2 * n, first + 2 * n + 1) for n in range(count)]


def drawn(known: PairTable, *, references: int = 2, targets: int = 2, seed: int = 0):
    return random_samples(
        known, known.pairs, seed=seed, num_references=references, num_pairs=targets
    )


def test_targets_share_no_image_with_references() -> None:
    known = histories(a=[pair(0, 1), pair(0, 2), pair(3, 1), pair(4, 5), pair(6, 7), pair(8, 9)])
    for seed in range(20):
        for sample in drawn(known, seed=seed).values():
            assert not images_of(sample.references) & images_of(sample.pairs)
            assert len(sample.references) == 2


def test_a_user_without_enough_pairs_is_not_asked() -> None:
    assert set(drawn(histories(a=chain(0, 2), b=chain(10, 5)))) == {"b"}


def test_who_else_is_there_changes_no_sample() -> None:
    alone = drawn(histories(a=chain(0, 6)))["a"]
    assert drawn(histories(a=chain(0, 6), b=chain(20, 6)))["a"] == alone


def test_only_askable_pairs_are_asked_and_others_are_read_first() -> None:
    old, new = chain(0, 5), chain(50, 3)
    known = histories(a=[*old, *new])
    sample = random_samples(known, {"a": new}, seed=1, num_references=4, num_pairs=8)["a"]
    assert set(sample.pairs) == set(new)
    assert set(sample.references) <= set(old)


def choices(*sizes: int, first: int = 0) -> list[Pair]:
    """Choices that pass so many images over each, and share none."""
    rows = iter(range(first, 100))
    pairs = []
    for number, size in enumerate(sizes):
        liked = next(rows)
        pairs += [Pair(liked, next(rows), "", float(number), number, nth) for nth in range(size)]
    return pairs


def newest(pairs: list[Pair], askable: list[Pair] | None = None, *, references=2, asked=2):
    return newest_samples(
        histories(a=pairs),
        {"a": pairs if askable is None else askable},
        seed=0,
        num_references=references,
        num_pairs=asked,
    ).get("a")


def test_the_newest_are_asked_behind_what_was_served_before_them() -> None:
    pairs = choices(1, 2, 1, 2, 1)
    sample = newest(pairs, references=3, asked=2)
    assert sample.pairs == tuple(pairs[4:6])  # of the last two choices, as many as are wanted
    assert sample.references == (pairs[0], pairs[1], pairs[3])
    asked_again = newest(pairs, references=4, asked=2)
    assert asked_again.references == tuple(pairs[:4])


@pytest.mark.parametrize(
    ("num_choices", "num_read", "num_asked"),
    [(2, 0, 0), (4, 2, 2), (6, 2, 4), (7, 2, 4), (8, 4, 4)],
)
def test_who_has_not_all_references_is_asked_behind_fewer(
    num_choices: int, num_read: int, num_asked: int
) -> None:
    """Four are read where that leaves as many pairs to ask about as two do."""
    sample = newest_samples(
        histories(a=choices(*[1] * num_choices)),
        {"a": choices(*[1] * num_choices)},
        seed=0,
        num_references=4,
        fewest_references=2,
        num_pairs=4,
    ).get("a")
    found = (0, 0) if sample is None else (len(sample.references), len(sample.pairs))
    assert found == (num_read, num_asked)


@pytest.mark.parametrize("asked", [1, 3, 99])
def test_nothing_that_is_read_is_newer_than_what_is_asked(asked: int) -> None:
    sample = newest(choices(1, 3, 2, 1, 2, 2, 1), asked=asked)
    assert max(p.choice for p in sample.references) < min(p.choice for p in sample.pairs)
    assert len(sample.references) == 2


def test_a_history_that_cannot_fill_the_references_is_not_asked() -> None:
    assert newest(choices(1, 1, 1), references=3) is None
    assert newest(choices(1, 1, 1), references=2).pairs == (choices(1, 1, 1)[2],)
    assert newest(choices(1, 1, 1), choices(1, 1, 1)[:2], references=2) is None


def test_an_image_that_is_read_is_not_asked() -> None:
    pairs = [*choices(1, 1, 1), Pair(90, 0, "", 3.0, 3), Pair(91, 4, "", 4.0, 4)]
    sample = newest(pairs, asked=9)
    assert not images_of(sample.references) & images_of(sample.pairs)
    assert [(p.liked, p.disliked) for p in sample.pairs] == [(4, 5), (91, 4)]


def test_strangers_are_other_users_and_show_no_target() -> None:
    known = histories(a=chain(0, 5), b=chain(0, 5), c=chain(30, 5), d=chain(60, 5))
    samples = drawn(known)
    changed = behind_strangers(samples, seed=3)
    assert changed
    for user, sample in changed.items():
        assert sample.pairs == samples[user].pairs
        assert sample.references != samples[user].references
        assert not images_of(sample.references) & images_of(sample.pairs)


def test_swapped_labels_turn_each_reference_round() -> None:
    samples = {"a": Sample((pair(0, 1),), (pair(2, 3),))}
    (reference,) = swapped(samples)["a"].references
    assert (reference.liked, reference.disliked) == (1, 0)
    assert swapped(samples)["a"].pairs == samples["a"].pairs


def test_exchanged_labels_leave_each_image_where_it_stood() -> None:
    samples = {"a": Sample((pair(0, 1), replace(pair(4, 5), liked_first=False)), (pair(2, 3),))}
    exchanged = exchanged_in_place(samples)["a"]
    assert [each.liked for each in exchanged.references] == [1, 5]
    assert [each.in_reading_order for each in exchanged.references] == [(0, 1), (5, 4)]
    assert [each.in_reading_order for each in swapped(samples)["a"].references] == [(1, 0), (4, 5)]
    assert exchanged.pairs == samples["a"].pairs


def test_the_disliked_image_may_be_read_first() -> None:
    samples = {"a": Sample(tuple(chain(0, 3)), (pair(20, 21),))}
    turned = disliked_first(samples)["a"]
    assert [each.in_reading_order for each in turned.references] == [
        (each.disliked, each.liked) for each in samples["a"].references
    ]
    assert [each.liked for each in turned.references] == [
        each.liked for each in samples["a"].references
    ]


def test_a_random_order_belongs_to_the_user() -> None:
    samples = {user: Sample(tuple(chain(0, 8)), (pair(90, 91),)) for user in "abcdef"}
    drawn_order = in_random_pair_order(samples, seed=0)
    firsts = {
        user: tuple(each.liked_first for each in sample.references)
        for user, sample in drawn_order.items()
    }
    assert len(set(firsts.values())) > 1
    assert {len(set(each)) for each in firsts.values()} == {2}
    assert in_random_pair_order({"c": samples["c"]}, seed=0)["c"] == drawn_order["c"]


def test_without_prompts_keeps_images() -> None:
    sample = without_prompts({"a": Sample((pair(0, 1),), (pair(2, 3),))})["a"]
    assert {each.prompt for each in (*sample.references, *sample.pairs)} == {""}
    assert images_of(sample.references) == {0, 1}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_fewer_references_are_the_newest_ones(count: int) -> None:
    samples = {"a": Sample(tuple(chain(0, 2)), (pair(8, 9),))}
    assert with_references(samples, count)["a"].references == tuple(chain(0, 2)[2 - count :])


def test_fewer_references_stay_in_the_order_in_which_they_are_read() -> None:
    old, middle, new = (replace(p, choice=n) for n, p in enumerate(chain(0, 3)))
    samples = {"a": Sample((new, old, middle), (pair(8, 9),))}
    assert with_references(samples, 3) == samples
    assert with_references(samples, 2)["a"].references == (new, middle)


def test_one_of_four_asks_a_target_against_three_images_apart_from_the_references() -> None:
    known = histories(a=chain(0, 8))
    samples = drawn(known)
    (question,) = one_of_four(samples, known, seed=0)["a"]
    rows = {question.liked.row, *(each.row for each in question.disliked)}
    assert len(rows) == 4
    assert not rows & images_of(samples["a"].references)
    assert all(each.row % 2 == 1 for each in question.disliked)
    assert question.disliked[0].prompt == f"prompt {question.disliked[0].row - 1}"


def test_one_of_four_asks_about_each_pair_where_it_is_asked_to() -> None:
    known = histories(a=chain(0, 12))
    samples = drawn(known)
    (first,) = one_of_four(samples, known, seed=0)["a"]
    questions = one_of_four(samples, known, seed=0, most=None)["a"]
    assert questions[0] == first
    assert [each.liked.row for each in questions] == [p.liked for p in samples["a"].pairs]
    assert all(each.liked.row not in {d.row for d in each.disliked} for each in questions)


def test_one_of_four_needs_three_disliked_images() -> None:
    known = histories(a=chain(0, 4))
    assert one_of_four(drawn(known, references=2), known, seed=0) == {}


def test_opposed_pairs_are_those_on_which_two_disagree() -> None:
    known = histories(a=[pair(0, 1), pair(2, 3)], b=[pair(1, 0), pair(2, 3)], c=[pair(0, 1)])
    opposed = find_opposed(known, known.pairs, seed=0)
    assert {(each.first, each.second) for each in opposed} == {("a", "b"), ("b", "c")}
    for each in opposed:
        assert each.pair in known.pairs[each.first]


def test_no_user_is_in_more_opposed_pairs_than_said() -> None:
    known = histories(a=chain(0, 9), b=[pair(p.disliked, p.liked) for p in chain(0, 9)])
    assert len(find_opposed(known, known.pairs, seed=0, most_a_user=4)) == 4


def test_each_side_of_an_opposed_pair_is_asked_behind_references_apart() -> None:
    known = histories(
        a=[*chain(0, 2), *chain(40, 5), pair(0, 99)], b=[pair(1, 0), *chain(60, 5), pair(1, 98)]
    )
    opposed = find_opposed(known, known.pairs, seed=0)
    sides = opposed_samples(known, opposed, num_references=3)
    assert [(t.liked, t.disliked) for t in sides["a"].pairs] == [(0, 1)]
    assert [(t.liked, t.disliked) for t in sides["b"].pairs] == [(1, 0)]
    for sample in sides.values():
        assert len(sample.references) == 3
        assert not images_of(sample.references) & {0, 1}
