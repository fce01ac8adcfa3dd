"""Who is learned from, who chooses the best weights and who judges an adaptation."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.history import Pair
from training.data.batches import batches
from training.data.samples import PairTable, images_of
from training.data.trained_on import trained_on
from training.fitting.adapting.dealing import deal, deal_privately


def people_apart(num_users: int, *, num_choices: int = 6) -> PairTable:
    """Everybody chose so many times among images that nobody else saw."""
    size = 2 * num_choices
    pairs = {
        f"u{user}": tuple(
            Pair(size * user + 2 * n, size * user + 2 * n + 1, f"p{n}", float(n), n, 0)
            for n in range(num_choices)
        )
        for user in range(num_users)
    }
    return PairTable(pairs, tuple(f"{row:064x}" for row in range(size * num_users)))


def test_the_parents_people_do_not_judge() -> None:
    table = people_apart(160)
    before = deal(table, parent=None, num_references=2)
    judges, chose = list(before.comparison)[:5], list(before.validation)[:4]
    learned = replace(table, pairs={user: table.pairs[user] for user in judges})
    record = trained_on(learned, validation=chose, parts={}, key=None)
    dealt = deal(table, parent=record, num_references=2)
    assert set(dealt.comparison) == set(before.comparison) - set(judges)
    assert set(dealt.validation) == set(before.validation) - set(chose)
    assert {*judges, *chose} <= set(dealt.learned.pairs)


@pytest.mark.parametrize("dealing", [deal, deal_privately])
def test_a_model_that_reads_24_is_asked_of_people_who_have_chosen_less(dealing) -> None:
    table = people_apart(160, num_choices=32)
    short = {user: own[-12:] for user, own in list(table.pairs.items())[::2]}
    dealt = dealing(replace(table, pairs={**table.pairs, **short}), parent=None, num_references=24)
    all_long = dealing(table, parent=None, num_references=24)
    for part in ("validation", "comparison"):
        samples = getattr(dealt, part)
        assert samples.keys() == getattr(all_long, part).keys()
        read = {user: len(sample.references) for user, sample in samples.items()}
        assert read == {user: 8 if user in short else 24 for user in samples}
        asked = {user: len(sample.pairs) for user, sample in samples.items()}
        assert asked == {user: 4 if user in short else 8 for user in samples}


def test_images_that_the_parent_learned_from_are_not_asked() -> None:
    table = people_apart(160)
    (judge, *_) = deal(table, parent=None, num_references=2).comparison
    shown = table.pairs[judge][-1]
    stranger = {"a stranger": (shown, *table.pairs["u0"][:2])}
    wider = replace(table, pairs={**table.pairs, **stranger})
    record = trained_on(replace(table, pairs=stranger), parts={}, key=None)
    dealt = deal(wider, parent=record, num_references=2)
    assert shown not in dealt.comparison[judge].pairs
    assert shown in deal(table, parent=None, num_references=2).comparison[judge].pairs


def people_who_share(num_users: int) -> PairTable:
    """Everybody chose ten times between two of the four images of forty prompts."""
    rng = np.random.default_rng(0)
    pairs = {
        f"u{user}": tuple(
            Pair(*(4 * prompt + rng.permutation(4)[:2]).tolist(), f"p{prompt}", float(n), n, 0)
            for n, prompt in enumerate(rng.choice(40, 10, replace=False).tolist())
        )
        for user in range(num_users)
    }
    return PairTable(pairs, tuple(f"{row:064x}" for row in range(160)))


def test_nobody_lends_an_image_that_is_asked_read_as_a_reference_or_not() -> None:
    dealt = deal(people_who_share(300), parent=None, num_references=4)
    assert dealt.holds_prompts
    asked = {row for s in dealt.comparison.values() for row in images_of(s.pairs)}
    validated = dealt.validation
    of_others = [pair for sample in validated.values() for pair in sample.pairs]
    of_others += [pair for own in dealt.learned.pairs.values() for pair in own]
    assert not asked & images_of(of_others)
    read = [pair for sample in validated.values() for pair in sample.references]
    assert asked & images_of(read), "this world is one in which it matters"
    lent = dealt.lendable.pairs
    assert lent.keys() == dealt.learned.pairs.keys() | validated.keys()
    assert not asked & {row for own in lent.values() for row in images_of(own)}
    apart = [pair for pair in (*of_others, *read) if not asked & images_of([pair])]
    assert sum(map(len, lent.values())) == len(apart), "all others are lent"


def test_where_nobody_shares_images_all_prompts_are_learned_from() -> None:
    dealt = deal(people_apart(120), parent=None, num_references=2)
    assert not dealt.holds_prompts
    assert all(len(pairs) == 6 for pairs in dealt.learned.pairs.values())
    fewer = deal(people_apart(100), parent=None, num_references=2)
    assert set(fewer.comparison) <= set(dealt.comparison), "people keep their part"


def test_each_part_must_have_enough_people() -> None:
    table = people_apart(120)
    dealt = deal(table, parent=None, num_references=2)
    kept = {*list(dealt.learned.pairs)[:7], *dealt.validation, *dealt.comparison}
    few = replace(table, pairs={user: table.pairs[user] for user in kept})
    with pytest.raises(ValueError, match="got 7 for learning"):
        deal(few, parent=None, num_references=2)


def test_each_number_of_references_is_learned_from_as_often() -> None:
    most = 4
    drawn = batches(
        people_apart(12),
        num_users=12,
        num_pairs=1,
        num_references=most,
        fewer_references=most / (most + 1),
        seed=0,
    )
    counts = np.zeros(most + 1)
    for step in range(250):
        for sample in drawn.draw(step, 0):
            counts[len(sample.references)] += 1
    assert counts / counts.sum() == pytest.approx(np.full(most + 1, 1 / (most + 1)), abs=0.03)
