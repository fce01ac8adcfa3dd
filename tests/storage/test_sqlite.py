"""Which file a URL names, and whether it is new; a connection waits for its turn to WAL."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from storage import sqlite
from storage.errors import NotADatabase, StorageUnavailable
from storage.sqlite import is_new


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:////a/b.db", "/a/b.db"),
        ("sqlite:///b.db?mode=ro", "b.db"),
        ("sqlite+pysqlite:///b.db", "b.db"),
        ("sqlite:///:memory:", None),
        ("sqlite://", None),
        ("postgresql:///db", None),
        ("postgresql://ann:a@host/db", None),
    ],
)
def test_an_embedded_database_is_a_file(url: str, path: str | None) -> None:
    assert sqlite.sqlite_file(url) == (None if path is None else Path(path))


def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(ValueError, match="URL"):
        sqlite.sqlite_file("recsys.db")


class Locked:
    """A connection that another process keeps from turning its file to WAL for a while."""

    def __init__(self, *, num_refusals: int, code: int = sqlite3.SQLITE_BUSY) -> None:
        self.num_refusals = num_refusals
        self.code = code
        self.statements: list[str] = []

    def execute(self, statement: str) -> None:
        if "journal_mode" in statement and self.num_refusals > 0:
            self.num_refusals -= 1
            error = sqlite3.OperationalError("database is locked")
            error.sqlite_errorcode = self.code
            raise error
        self.statements.append(statement)


def test_a_connection_waits_for_the_turn_to_wal() -> None:
    connection = Locked(num_refusals=3)
    sqlite.prepare(connection, None)
    assert connection.statements[0] == "PRAGMA journal_mode=WAL"
    assert len(connection.statements) == 3


def test_a_connection_gives_up_in_the_end(monkeypatch) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        sqlite.prepare(Locked(num_refusals=10**9), None)


def test_another_error_is_told_at_once() -> None:
    connection = Locked(num_refusals=1, code=sqlite3.SQLITE_READONLY)
    with pytest.raises(sqlite3.OperationalError):
        sqlite.prepare(connection, None)
    assert connection.num_refusals == 0


def test_new_is_what_has_no_table(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    assert is_new(path)
    assert not path.exists()
    path.touch()
    assert is_new(path)
    for statement, expected in (("PRAGMA user_version = 1", True), ("CREATE TABLE a (b)", False)):
        with closing(sqlite3.connect(path)) as connection:
            connection.execute(statement)
            connection.commit()
        assert is_new(path) is expected
    assert not is_new(None)


def test_a_file_that_is_no_database_is_not_new_but_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"I am no database." * 100)
    with pytest.raises(NotADatabase, match=r"x\.db must be a SQLite database"):
        is_new(path)


def test_a_locked_database_is_one_and_is_busy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "BUSY_TIMEOUT_S", 0.05)
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("CREATE TABLE a (b)")
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(StorageUnavailable, match=r"x\.db cannot be read now .*locked"):
            is_new(path)
        other.execute("ROLLBACK")
        assert not is_new(path)
