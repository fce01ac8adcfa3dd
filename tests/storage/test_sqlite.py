"""A connection waits while another process turns the file to WAL, and gives up in the end."""

import sqlite3

import pytest

from storage import sqlite


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
