"""Retention: by age and by number, what follows, and bytes that nothing names."""

import hashlib
import os
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import func, select

from storage.backfill_ledger import BackfillLedger, BackfillState, LedgerEntry
from storage.browsing import Browser
from storage.clusters.building import ClusterBuilder
from storage.consents import ConsentStore
from storage.pruning import Pruner, Retention
from storage.records import Signature
from storage.signatures import SignatureStore
from storage.tables import BackfillRow, ChoiceRow, ClusterMemberRow, ImageRow, PassedOverRow

NOW = datetime.now(UTC)
VERSION = "v1"


@pytest.fixture
def pruner(store, monkeypatch) -> Pruner:
    """Of small transactions and pages."""
    monkeypatch.setattr("storage.removing.CHOICES_AT_ONCE", 2)
    monkeypatch.setattr("storage.pruning._USERS_AT_ONCE", 2)
    return Pruner(store.database, store.blobs)


def days(number: float) -> datetime:
    return NOW - timedelta(days=number)


@pytest.fixture
def crowd(store, choose):
    """Seven choices of ann, one a day; three of bob, cyd and dan, the oldest stored last."""
    for nth in range(7):
        chosen_at = days(7 - nth)
        store.append(*choose(liked=f"a{nth}", passed_over=("x",), chosen_at=chosen_at))
    for user_id in ("bob", "cyd", "dan"):
        for nth in range(3):
            more = {"passed_over": ("x",), "chosen_at": days(100 * nth)}
            store.append(*choose(user_id=user_id, liked=f"{user_id}{nth}", **more))


def kept(store) -> dict[str, list[str]]:
    return {
        user_id: [stored.choice.liked for stored in store.read(user_id).choices]
        for user_id in store.user_ids()
    }


def sound(store, files_of) -> None:
    """Rows, and files, of exactly the images that choices name."""
    with store.database.session() as session:
        named = set(session.scalars(select(ChoiceRow.liked)))
        named |= set(session.scalars(select(PassedOverRow.sha256)))
        assert set(session.scalars(select(ImageRow.sha256))) == named
    assert files_of(store) == sorted(named)


@pytest.mark.parametrize(
    "retention",
    [
        Retention(chosen_from=days(4.5)),
        Retention(keep_newest=2),
        Retention(chosen_from=days(150), keep_newest=2),
        Retention(chosen_from=days(0.5), keep_newest=4),
        Retention(keep_newest=1000),
    ],
    ids=["age", "number", "both", "most", "all"],
)
def test_what_stays_is_what_a_naive_reading_keeps(store, pruner, crowd, retention, files_of):
    expected = {}
    for user_id in store.user_ids():
        choices = [stored.choice for stored in store.read(user_id).choices]
        newest = choices[-retention.keep_newest :] if retention.keep_newest else choices
        oldest = retention.chosen_from or datetime.min.replace(tzinfo=UTC)
        expected[user_id] = [each.liked for each in newest if each.chosen_at >= oldest]
    before = kept(store)
    num_gone = sum(map(len, before.values())) - sum(map(len, expected.values()))
    sums: list[int] = []

    doomed = pruner.count(retention)
    assert kept(store) == before
    removed = pruner.prune(retention, progress=sums.append)

    assert kept(store) == expected
    assert (removed.num_choices, doomed.num_choices) == (num_gone, num_gone)
    assert doomed.num_users == sum(before[user] != expected[user] for user in before)
    assert removed.num_emptied == sum(not each for each in expected.values())
    assert (sums[-1] if sums else 0) == num_gone
    assert sums == sorted(sums)
    sound(store, files_of)
    assert pruner.prune(retention).num_choices == 0
    listed = Browser(store.database).users(model_version=VERSION)
    assert {user.user_id: user.num_choices for user in listed} == {
        user_id: len(choices) for user_id, choices in expected.items()
    }


def test_a_choice_without_a_time_is_as_old_as_its_import(store, pruner, choose):
    moment = datetime(1970, 1, 1, 0, 0, 3, tzinfo=UTC)
    store.append_many([choose(chosen_at=moment), choose(liked="c", chosen_at=days(10))])
    assert pruner.prune(Retention(chosen_from=days(1))).num_choices == 1
    assert store.read("ann").choices[0].choice.chosen_at == moment
    assert pruner.prune(Retention(chosen_from=datetime.now(UTC))).num_choices == 1


def test_signatures_become_stale_and_go_with_the_last_choice(store, pruner, choose):
    store.append_many([choose(chosen_at=days(9)), choose(liked="c", chosen_at=days(1))])
    store.append(*choose(user_id="bob", chosen_at=days(9)))
    signatures, ledger = SignatureStore(store.database), BackfillLedger(store.database)
    vector = np.ones(2, dtype=np.float32)
    users = {"ann": 2, "bob": 1}
    signatures.put_many([Signature(user, VERSION, at, vector) for user, at in users.items()])
    ledger.record([LedgerEntry(u, VERSION, r, "j", BackfillState.DONE) for u, r in users.items()])
    builder = ClusterBuilder(store.database)
    run_id = builder.begin(VERSION, "kmeans", {}, num_users=2)
    builder.add_members(run_id, ["ann", "bob"], [0, 0], [1.0, 1.0])
    ConsentStore(store.database).update("bob", learn_from=True)

    assert pruner.prune(Retention(chosen_from=days(5))).num_emptied == 1

    assert signatures.get("bob", VERSION) is None
    assert signatures.stale(VERSION) == [("ann", 3)]
    with store.database.session() as session:
        assert set(session.scalars(select(BackfillRow.user_id))) == {"ann"}
        assert set(session.scalars(select(ClusterMemberRow.user_id))) == {"ann"}
    assert store.user("bob").num_choices == 0
    assert store.append(*choose(user_id="bob")).stored.revision == 3  # no number twice


def old(path: Path, hours: float) -> None:
    at = time.time() - 3600 * hours
    os.utime(path, (at, at))


def test_bytes_that_nothing_names_go_when_they_are_old(store, pruner, choose, files_of):
    store.append(*choose())
    folder = Path(store.blobs.url.removeprefix("file://"))
    lost, fresh = (store.blobs.put(name) for name in (b"lost", b"fresh"))
    part = folder / lost[:2] / f"{lost}.{'0' * 16}.part"
    part.write_bytes(b"half")
    other = folder / lost[:2] / "notes.txt"
    other.write_bytes(b"not ours")
    for path in folder.rglob("*"):
        if path.is_file() and path.name != fresh:
            old(path, 1.5)
    keeps = Retention(keep_newest=9)

    assert pruner.count(keeps).num_orphans == 2
    assert pruner.remove_orphans() == 2

    named = [hashlib.sha256(f"image {name}".encode()).hexdigest() for name in "ab"]
    assert files_of(store) == sorted([*named, fresh, "notes.txt"])
    assert pruner.remove_orphans() == 0
    with store.database.session() as session:
        assert session.scalar(select(func.count()).select_from(ImageRow)) == 2


def test_without_blobs_there_is_no_orphan(pruner):
    assert pruner.remove_orphans() == 0


@pytest.mark.parametrize("wrong", [{}, {"keep_newest": 0}])
def test_a_retention_says_something(wrong):
    with pytest.raises(ValueError, match=r"got neither|at least 1"):
        Retention(**wrong)
