"""What of a history signatures are made of, where some of its images cannot be read."""

from dataclasses import replace

import pytest

from recsys.history import Pair
from training.data.samples import PairTable
from training.fitting.recipes.recipe import SignatureRecipe
from training.fitting.recipes.tiny import tiny
from training.fitting.signature_part import probes_of, readable

HISTORIES = PairTable(
    {
        f"u{n}": tuple(Pair(row, row + 1, f"p{row}") for row in range(8 * n, 8 * n + 8, 2))
        for n in range(5)
    },
    tuple(f"{row:064x}" for row in range(40)),
)
RECIPE = replace(tiny(), signature=SignatureRecipe(num_probes=6))


class Reading:
    """An encoder that finds bad rows only when it comes upon them."""

    def __init__(self, unreadable) -> None:
        self.unreadable, self.bad = set(unreadable), set()
        self.asked: list[list[int]] = []

    def find_bad(self, rows) -> set[int]:
        self.asked.append(list(rows))
        self.bad |= self.unreadable & set(rows)
        return self.unreadable & set(rows)

    def prepare(self, upcoming) -> None: ...
    def read(self, samples, at): ...
    def rows(self, rows): ...
    def figures(self): ...
    def of(self, scorer): ...


def probes(left: PairTable) -> set[int]:
    return {probe.row for probe in probes_of(RECIPE, left)}


def test_where_all_probes_can_be_read_nothing_is_left_out() -> None:
    assert readable(HISTORIES, Reading([]), probes) == HISTORIES


def test_probes_are_chosen_anew_until_all_can_be_read() -> None:
    unreadable = probes(HISTORIES)
    encoder = Reading(unreadable)
    chosen = probes(readable(HISTORIES, encoder, probes))
    assert len(chosen) == 6
    assert not chosen & unreadable
    assert len(encoder.asked) >= 2


def test_where_nothing_can_be_read_it_says_so() -> None:
    with pytest.raises(ValueError, match="chosen among training images, got none"):
        readable(HISTORIES, Reading(range(40)), probes)


def disliked_of_u0(left: PairTable) -> set[int]:
    return {pair.disliked for pair in left.pairs["u0"]}


def test_only_pairs_with_an_image_that_is_drawn_and_bad_are_left_out() -> None:
    left = readable(HISTORIES, Reading([3, 31]), disliked_of_u0)
    missing = {u: set(HISTORIES.pairs[u]) - set(left.pairs[u]) for u in HISTORIES.pairs}
    assert missing.pop("u0") == {Pair(2, 3, "p2")}
    assert not any(missing.values()), "31 is bad but was not drawn"
    assert left.images == HISTORIES.images
