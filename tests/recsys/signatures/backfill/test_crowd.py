"""A run over any number of users: what it asks for at once, and how much it holds."""

import tracemalloc
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from recsys.history import ReferencePair, references_of
from recsys.signatures import backfill as module
from recsys.signatures.backfill import Backfill, BackfillSummary
from recsys.signatures.inputs import read_input
from storage.backfill_ledger import LedgerEntry
from storage.records import Choice, History, Signature, StoredChoice

NOW = datetime(2026, 1, 2, tzinfo=UTC)
VERSION = "v1"


def all_of(pairs: Sequence[ReferencePair]) -> Sequence[ReferencePair]:
    return pairs


class Crowd:
    """Any number of users of one choice each, made when asked for; all three stores in one."""

    def __init__(self, num_users: int) -> None:
        self.num_users = num_users
        self.stored: set[int] = set()
        self.states: Counter[str] = Counter()
        self.largest_page = self.largest_put = 0

    def stale(self, model_version: str, *, after: str = "", limit: int = 1000):
        first = int(after[1:]) + 1 if after else 0
        self.largest_page = max(self.largest_page, limit)
        page = range(first, min(first + limit, self.num_users))
        return [(f"u{number:09}", 1) for number in page]

    def read(self, user_id: str, *, limit: int | None = None) -> History:
        liked = f"{user_id} a" if int(user_id[1:]) % 10 else None
        choice = Choice(user_id, liked, (f"{user_id} b",), user_id, NOW, "test")
        return History(user_id, 1, (StoredChoice(int(user_id[1:]) + 1, 1, choice),))

    def put_many(self, signatures: Sequence[Signature]) -> list[str]:
        self.largest_put = max(self.largest_put, len(signatures))
        return []

    def get(self, user_id: str, model_version: str) -> Signature | None:
        return None

    def entries(self, model_version: str, user_ids: Sequence[str]) -> dict[str, LedgerEntry]:
        return {}

    def record(self, entries: Sequence[LedgerEntry]) -> None:
        self.states.update(entry.state for entry in entries)

    def still_stored(self, choice_ids: Sequence[int]) -> set[int]:
        return set(choice_ids)


def everybody(user_id: str) -> bool:
    return True


class Quick:
    model_version = VERSION

    def read(self, references: Sequence[Any]) -> np.ndarray:
        return np.ones(8, dtype=np.float32)

    def read_many(self, users: Sequence[Sequence[Any]]) -> list[np.ndarray]:
        return [self.read(each) for each in users]


def crowd_run(num_users: int, chunk_size: int = 50) -> tuple[Crowd, BackfillSummary, int]:
    crowd = Crowd(num_users)
    tracemalloc.start()
    try:
        run = Backfill(
            crowd, crowd, crowd, Quick(), all_of, chunk_size=chunk_size, personalizes=everybody
        )
        summary = run.run()
        return crowd, summary, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_memory_does_not_grow_with_the_number_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAGE", 100)
    crowd_run(200)  # what is made once
    _, _, small = crowd_run(1000)
    crowd, summary, large = crowd_run(6000)
    assert (summary.num_done, summary.num_skipped) == (5400, 600)
    assert crowd.states == {"done": 5400, "skipped": 600}
    assert (crowd.largest_page, crowd.largest_put) == (100, 45)
    # An id kept of each user would be five times as much.
    assert large < small + 60_000


@pytest.mark.parametrize("chunk_size", [1, 7, 64, 5000])
def test_progress_counts_up_to_everybody(chunk_size: int) -> None:
    crowd, counts = Crowd(100), []
    run = Backfill(
        crowd, crowd, crowd, Quick(), all_of, chunk_size=chunk_size, personalizes=everybody
    )
    summary = run.run(counts.append)
    assert counts == sorted(set(counts))
    assert counts[-1] == summary.num_tried == 100
    assert max(np.diff([0, *counts])) == min(chunk_size, 100)
    assert summary.users_per_second > 0


def test_a_run_without_users_is_a_summary_of_zeros() -> None:
    crowd = Crowd(0)
    summary = Backfill(crowd, crowd, crowd, Quick(), all_of, personalizes=everybody).run()
    assert (summary.num_tried, summary.users_per_second) == (0, 0.0)


@pytest.mark.parametrize("wrong", [{"chunk_size": 0}, {"num_references": 0}])
def test_counts_below_one_are_refused(wrong: dict[str, int]) -> None:
    crowd = Crowd(0)
    with pytest.raises(ValueError, match="must be at least 1"):
        Backfill(crowd, crowd, crowd, Quick(), all_of, **wrong, personalizes=everybody)


@pytest.mark.parametrize("num_references", [1, 4, 8])
def test_what_is_read_of_a_user_is_what_the_whole_history_gives(num_references: int) -> None:
    """Far back, where the newest choices form no pair."""
    likes = [number % 9 == 0 for number in range(100)]
    choices = tuple(
        StoredChoice(
            10 + number,
            number + 1,
            Choice("ann", f"a{number}" if likes[number] else None, ("b",), "", NOW, "test"),
        )
        for number in range(100)
    )

    class Histories:
        def read(self, user_id: str, *, limit: int | None = None) -> History:
            newest = choices[-limit:] if limit else choices
            return History(user_id, 100, newest if user_id == "ann" else ())

    user = read_input(Histories(), "ann", num_references)
    assert user is not None
    assert user.pairs == references_of(History("ann", 100, choices), num_references)
    assert (user.revision, user.newest_choice_id) == (100, 109)
    assert read_input(Histories(), "bob", num_references) is None
