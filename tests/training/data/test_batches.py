"""Samples of a step: decided by seed, step and part, and without images that cannot be read."""

from dataclasses import replace

import pytest

from recsys.history import Pair
from training.data.batches import without_images, without_rows
from training.data.samples import PairTable, Sample, images_of
from training.fitting.recipes.recipe import Recipe
from training.fitting.recipes.tiny import tiny
from training.fitting.stages import stage_batches

PAIRS = {
    f"u{user}": tuple(Pair(100 * user + 2 * n, 100 * user + 2 * n + 1, "") for n in range(20))
    for user in range(40)
}
HISTORIES = PairTable(PAIRS, tuple(f"image{row}" for row in range(4000)))


def eight(**changes) -> Recipe:
    """The shipped recipe with as many references as these people have pairs for."""
    whole = tiny()
    return replace(whole, scorer=replace(whole.scorer, num_references=8), **changes)


def drawn(**changes):
    recipe = eight(**changes)
    return stage_batches(HISTORIES, recipe, recipe.first)


def test_seed_step_and_part_decide() -> None:
    assert drawn().draw(3, 0) == drawn().draw(3, 0)
    assert drawn().draw(3, 0) != drawn().draw(4, 0)
    assert drawn().draw(3, 0) != drawn().draw(3, 1)


def test_references_come_in_a_new_order_each_time() -> None:
    alone = replace(HISTORIES, pairs={"u0": PAIRS["u0"][:9]})
    recipe = eight(fewer_references=0.0)
    batches = stage_batches(alone, recipe, recipe.first)
    orders = {batches.draw(step, 0)[0].references for step in range(20)}
    assert len(orders) == 20


def test_the_order_within_references_is_drawn_and_changes_no_other_draw() -> None:
    turned, served = drawn(random_pair_order=True), drawn(random_pair_order=False)
    firsts = [r.liked_first for sample in turned.draw(0, 0) for r in sample.references]
    assert 0.3 < sum(firsts) / len(firsts) < 0.7
    assert turned.draw(0, 0) == turned.draw(0, 0)
    assert turned.names(0, 0) == served.names(0, 0)
    assert all(r.liked_first for sample in served.draw(0, 0) for r in sample.references)


def test_users_are_drawn_alike_or_by_their_pairs() -> None:
    long = tuple(Pair(4000 + 2 * n, 4001 + 2 * n, "long") for n in range(200))
    uneven = replace(HISTORIES, pairs={**PAIRS, "long": long})

    def share(balances: bool) -> float:
        recipe = eight(balances_users=balances)
        batches = stage_batches(uneven, recipe, recipe.first)
        samples = [sample for step in range(60) for sample in batches.draw(step, 0)]
        is_long = [(*s.references, *s.pairs)[0].prompt == "long" for s in samples]
        return sum(is_long) / len(is_long)

    assert share(True) == pytest.approx(1 / 41, abs=0.01)
    assert share(False) == pytest.approx(200 / 1000, abs=0.03)


def test_targets_share_no_image_with_references() -> None:
    for sample in drawn().draw(0, 0):
        assert not images_of(sample.references) & images_of(sample.pairs)


def test_the_share_with_fewer_references_is_the_recipes() -> None:
    whole = [s for step in range(20) for s in drawn(fewer_references=0.0).draw(step, 0)]
    assert {len(sample.references) for sample in whole} == {8}
    some = [s for step in range(60) for s in drawn(fewer_references=0.5).draw(step, 0)]
    share = sum(len(sample.references) < 8 for sample in some) / len(some)
    assert share == pytest.approx(0.5, abs=0.05)


def test_a_batch_can_be_named() -> None:
    first = drawn().draw(2, 0)[0]
    pair = (*first.references, *first.pairs)[0]
    assert drawn().names(2, 0)[0] == f"image{pair.liked} over image{pair.disliked}"


def test_a_history_of_one_pair_is_no_history() -> None:
    recipe = tiny()
    short = PairTable({"a": (Pair(0, 1, ""), Pair(0, 2, ""))}, ("",) * 3)
    with pytest.raises(ValueError, match="two pairs with different liked images"):
        stage_batches(short, recipe, recipe.first)


def test_pairs_with_unreadable_images_are_left_out() -> None:
    sample = Sample((Pair(0, 1, ""), Pair(2, 3, "")), (Pair(4, 5, ""),))
    assert without_images([sample], {3}) == [Sample((Pair(0, 1, ""),), (Pair(4, 5, ""),))]
    assert without_images([sample], set()) == [sample]
    assert len(without_rows(HISTORIES, {0}).pairs["u0"]) == 19


def test_no_pair_beside_the_references_tells_what_to_do() -> None:
    few = replace(HISTORIES, pairs={"u0": PAIRS["u0"][:8], "u1": PAIRS["u1"][:5]})
    recipe = eight(fewer_references=0.0)
    found = stage_batches(few, recipe, recipe.first)
    with pytest.raises(
        ValueError, match=r"than the 8 references .* at most 8 pairs, all read"
    ) as no:
        found.draw(0, 0)
    assert "import more choices of each user" in str(no.value)
    assert "scorer.num_references=N" in str(no.value)
    one_more = replace(HISTORIES, pairs={"u0": PAIRS["u0"][:9]})
    assert stage_batches(one_more, recipe, recipe.first).draw(0, 0)[0].pairs
