"""The ledger of backfills: the newest try stands, goes with its user, and tells who is due."""

from functools import partial

import numpy as np
import pytest

from storage.backfill_ledger import (
    MAX_ERROR,
    BackfillLedger,
    BackfillState,
    LedgerEntry,
    MissingSignatures,
)
from storage.database import downgrade, upgrade
from storage.records import Signature
from storage.signatures import SignatureStore

DONE, SKIPPED, FAILED = BackfillState.DONE, BackfillState.SKIPPED, BackfillState.FAILED


@pytest.fixture
def ledger(store) -> BackfillLedger:
    return BackfillLedger(store.database)


def entry(user_id: str, state=FAILED, revision: int = 1, version: str = "v1", error: str = "why"):
    return LedgerEntry(user_id, version, revision, "job", state, error)


def failed(ledger: BackfillLedger, **more) -> list[str]:
    return [each.user_id for each in ledger.failures("v1", **more)]


def test_what_was_recorded_comes_back(store, ledger, choose) -> None:
    store.append(*choose())
    store.append(*choose(user_id="bob"))
    assert ledger.entries("v1", ["ann", "bob", "cyd"]) == {}
    ledger.record([entry("ann", DONE, error=""), entry("bob")])
    ledger.record([])
    entries = ledger.entries("v1", ["ann", "bob", "cyd"])
    assert sorted(entries) == ["ann", "bob"]
    ann = entries["ann"]
    assert (ann.revision, ann.job, ann.state, ann.error) == (1, "job", DONE, "")
    assert ann.updated_at is not None
    assert ann.updated_at.utcoffset().total_seconds() == 0
    assert (entries["bob"].state, entries["bob"].error) == (FAILED, "why")
    assert ledger.entries("v2", ["ann"]) == {}


def test_the_newest_revision_stands_and_the_last_word_about_it(store, ledger, choose) -> None:
    store.append_many([choose() for _ in range(5)])
    for revision, state, stands in [
        (2, FAILED, (2, FAILED)),
        (4, SKIPPED, (4, SKIPPED)),
        (3, DONE, (4, SKIPPED)),
        (4, DONE, (4, DONE)),
        (5, FAILED, (5, FAILED)),
    ]:
        ledger.record([entry("ann", state, revision)])
        row = ledger.entries("v1", ["ann"])["ann"]
        assert (row.revision, row.state) == stands


def test_who_is_gone_or_came_again_is_left_out(store, ledger, choose) -> None:
    store.append_many([choose() for _ in range(3)])
    store.append(*choose(user_id="bob"))
    store.erase("ann")
    ledger.record([entry("ann", revision=3), entry("bob")])
    store.restore("ann")
    store.append(*choose())
    ledger.record([entry("ann", revision=3)])
    assert list(ledger.entries("v1", ["ann", "bob"])) == ["bob"]


def test_an_erased_user_leaves_no_entry(store, ledger, choose) -> None:
    store.append(*choose())
    store.append(*choose(user_id="bob"))
    ledger.record([entry("ann"), entry("bob")])
    ledger.record([entry("ann", version="v2")])
    store.erase("ann")
    assert list(ledger.entries("v1", ["ann", "bob"])) == ["bob"]
    assert ledger.entries("v2", ["ann", "bob"]) == {}
    assert failed(ledger) == ["bob"]


@pytest.mark.parametrize("error", ["\x00\x1b[2J\ud800\nno", "é" * 10_000])
def test_any_error_can_be_stored(store, ledger, choose, error: str) -> None:
    store.append(*choose())
    ledger.record([entry("ann", error=error)])
    stored = ledger.entries("v1", ["ann"])["ann"].error
    assert stored.isprintable()
    assert 0 < len(stored) <= MAX_ERROR


def test_failures_are_those_that_nothing_has_overtaken(store, ledger, choose) -> None:
    users = ["ann", "bob", "cyd", "dan", "eve"]
    store.append_many([choose(user_id=user) for user in users])
    ledger.record([entry(user) for user in users[:4]])
    ledger.record([entry("eve", SKIPPED)])
    assert failed(ledger) == users[:4]
    assert failed(ledger, after="ann", limit=2) == ["bob", "cyd"]
    assert failed(ledger, after="dan") == []
    store.append(*choose(user_id="bob"))  # a new choice
    signature = Signature("cyd", "v1", 1, np.ones(8, dtype=np.float32))
    SignatureStore(store.database).put(signature)  # computed by somebody else
    assert failed(ledger) == ["ann", "dan"]
    assert ledger.failures("v2") == []


def test_who_is_due(store, ledger, choose) -> None:
    """Counted as a backfill finds them: stale, and not known to fail or to have no pair."""
    signatures = SignatureStore(store.database)
    users = ["ann", "bob", "cyd", "dan", "eve"]
    store.append_many([choose(user_id=user) for user in users])
    assert ledger.num_due("v1") == len(signatures.stale("v1", limit=10)) == 5
    signatures.put(Signature("ann", "v1", 1, np.ones(8, dtype=np.float32)))
    ledger.record([entry("ann", DONE), entry("bob"), entry("cyd", SKIPPED), entry("dan", DONE)])
    assert ledger.num_due("v1") == 2  # dan, whose signature is not there whatever is said, and eve
    assert ledger.num_due("v1", retry_failed=True) == 3
    assert ledger.num_due("v2") == 5
    store.append_many([choose(user_id=user) for user in users])
    assert ledger.num_due("v1") == 5


def test_who_has_no_current_signature_and_who_cannot_have_one(store, ledger, choose) -> None:
    users = ["ann", "bob", "cyd", "dan", "eve"]
    store.append_many([choose(user_id=user) for user in users])
    SignatureStore(store.database).put(Signature("ann", "v1", 1, np.ones(8, dtype=np.float32)))
    states = {"bob": FAILED, "cyd": SKIPPED, "dan": BackfillState.UNAVAILABLE}
    ledger.record([entry(user, state) for user, state in states.items()])
    assert ledger.missing("v1") == MissingSignatures(num_due=2, num_skipped=1, num_failed=1)
    assert ledger.missing("v1").num_due == ledger.num_due("v1")
    assert ledger.missing("v2") == MissingSignatures(num_due=5, num_skipped=0, num_failed=0)
    store.append_many([choose(user_id=user) for user in users])  # whoever chose may have one now
    assert ledger.missing("v1") == MissingSignatures(num_due=5, num_skipped=0, num_failed=0)


def test_choices_that_stand(store, ledger, choose) -> None:
    first = store.append(*choose()).stored.choice_id
    other = store.append(*choose(user_id="bob")).stored.choice_id
    assert ledger.still_stored([first, other, other + 1]) == {first, other}
    store.erase("ann")
    store.restore("ann")
    again = store.append(*choose()).stored.choice_id
    assert ledger.still_stored([first, other, again]) == {other, again}
    assert ledger.still_stored([]) == set()


def test_more_than_one_statement_holds(store, ledger, choose) -> None:
    users = [f"u{number:04}" for number in range(450)]
    images = {"liked": "a", "passed_over": ("b",)}
    answers = store.append_many([choose(user_id=user, **images) for user in users])
    ledger.record([entry(user, SKIPPED) for user in users])
    assert len(ledger.entries("v1", users)) == 450
    ids = [answer.stored.choice_id for answer in answers]
    assert ledger.still_stored(ids) == set(ids)
    assert ledger.num_due("v1") == 0


def test_many_record_at_once(store, ledger, stores, together, choose) -> None:
    users = [f"u{number}" for number in range(20)]
    store.append_many([choose(user_id=user) for user in users for _ in range(4)])
    works = [
        partial(
            BackfillLedger(stores().database).record,
            [entry(user, revision=revision) for user in users[::step]],
        )
        for revision in (1, 4, 2, 3)
        for step in (1, -1)
    ]
    together(works)
    entries = ledger.entries("v1", users)
    assert {each.revision for each in entries.values()} == {4}
    assert len(entries) == 20


def test_the_migration_goes_back_and_forth(store, ledger, choose) -> None:
    store.append(*choose())
    ledger.record([entry("ann")])
    downgrade(store.database, "0002")
    assert store.revision("ann") == 1
    upgrade(store.database)
    assert ledger.entries("v1", ["ann"]) == {}
    ledger.record([entry("ann")])
    assert failed(ledger) == ["ann"]


def test_who_is_skipped_has_no_signature_of_that_revision_or_before(store, ledger, choose) -> None:
    signatures = SignatureStore(store.database)
    vector = np.ones(4, np.float32)
    for user_id in ("ann", "bob", "cyd"):
        store.append_many([choose(user_id=user_id), choose(user_id=user_id)])
    for user_id, revision in (("ann", 1), ("bob", 1), ("cyd", 2)):
        for version in ("v1", "v2"):
            signatures.put(Signature(user_id, version, revision, vector))
    ledger.record([entry("ann", SKIPPED, 2), entry("bob", FAILED, 2), entry("cyd", SKIPPED, 1)])
    for version in ("v1", "v2"):
        left = [each for each in ("ann", "bob", "cyd") if signatures.get(each, version)]
        assert left == ["bob", "cyd"]  # cyd has one of a history that was read later
