"""No room left, in the database or beside it: told as such, and nothing stored is lost."""

import errno
import os
import sqlite3

import psycopg
import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from storage.database import Database, upgrade
from storage.errors import StorageFull, StorageUnavailable
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys

KEYS = IdentityKeys.of(["a key for tests, known to all"])


@pytest.fixture
def small(sqlite_url: str, blobs):
    """A SQLite storage that can be closed to growth, and opened again."""
    database = Database(sqlite_url)
    upgrade(database)
    room = {"pages": 1 << 30}

    def limit(connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count={room['pages']}")

    event.listen(database.engine, "checkout", limit)
    yield HistoryStore(database, blobs, KEYS), room
    database.dispose()


def test_a_full_sqlite_keeps_what_it_has(small, choose, whole) -> None:
    store, room = small
    store.append_many([choose(liked=f"a{number}", request_id=str(number)) for number in range(50)])
    before = whole(store)
    room["pages"] = 1  # SQLite takes what is used already instead: no page more
    more = [
        choose(user_id=f"user {number % 7}", prompt="p" * 9000, request_id=f"more {number}")
        for number in range(100)
    ]
    with pytest.raises(StorageFull, match="database has no room left: free some and try again"):
        store.append_many(more)
    # Bytes put before the rows may stay behind; the next try takes them up.
    assert store.user_ids() == ["ann"]
    assert [stored.choice for stored in store.read("ann").choices] == before["ann"]
    room["pages"] = 1 << 30
    assert not any(answer.repeated for answer in store.append_many(more))
    assert len(whole(store)) == 8


def test_a_full_sqlite_can_still_erase(small, choose, whole) -> None:
    store, room = small
    store.append_many([choose(user_id=user, prompt="p" * 9000) for user in ["ann"] * 50 + ["bob"]])
    room["pages"] = 1
    assert store.erase("ann").num_choices == 50
    assert list(whole(store)) == ["bob"]


@pytest.mark.parametrize(
    ("code", "is_full"),
    [
        (sqlite3.SQLITE_FULL, True),
        (sqlite3.SQLITE_IOERR_SHMSIZE, True),
        (sqlite3.SQLITE_BUSY, False),
        (sqlite3.SQLITE_IOERR_READ, False),
    ],
)
def test_what_sqlite_says_is_told_apart(small, code: int, is_full: bool) -> None:
    error = sqlite3.OperationalError("words that may change, full or not")
    error.sqlite_errorcode = code
    with (
        pytest.raises(StorageFull if is_full else StorageUnavailable),
        small[0].database.writing(),
    ):
        raise OperationalError("INSERT", {}, error)


@pytest.mark.parametrize(
    ("error", "is_full"),
    [(psycopg.errors.DiskFull, True), (psycopg.errors.AdminShutdown, False)],
)
def test_what_postgresql_says_is_told_apart(store, error: type[Exception], is_full: bool) -> None:
    if store.database.is_sqlite:
        pytest.skip("has errors of its own")
    state = error.sqlstate
    raised = f"DO $$ BEGIN RAISE EXCEPTION 'in full words' USING ERRCODE = '{state}'; END $$"
    with (
        pytest.raises(StorageFull if is_full else StorageUnavailable),
        store.database.writing() as session,
    ):
        session.execute(text(raised))


@pytest.mark.parametrize("when", ["pipe_file", "mv"])
def test_no_room_for_images_stores_no_row(store, choose, whole, monkeypatch, when: str) -> None:
    store.append(*choose())
    before = whole(store)
    items = [choose(user_id="bob", liked=f"new {number}") for number in range(6)]
    real = getattr(store.blobs._files, when)
    left = [3]

    def run_out(*args, **more):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(*args, **more)

    with monkeypatch.context() as patch:
        patch.setattr(store.blobs._files, when, run_out)
        with pytest.raises(StorageFull, match="no room left for images"):
            store.append_many(items)
    assert store.user_ids() == ["ann"]
    assert store.read("bob").revision == 0
    # What was put before it ran out is taken up by the next try.
    store.append_many(items)
    assert whole(store) == before | {"bob": [choice for choice, _ in items]}
