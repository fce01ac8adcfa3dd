"""One URL decides: connections, transactions, what SQLite is told, and what is never shown."""

import sqlite3
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError, SQLAlchemyError

from storage.database import Database, answers, check, upgrade
from storage.errors import NotADatabase, StorageUnavailable
from storage.tables import UserRow

SECRET = "hunter2"


def names(database: Database) -> list[str]:
    with database.session() as session:
        return list(session.scalars(select(UserRow.user_id).order_by(UserRow.user_id)))


def add(session, user_id: str) -> None:
    session.execute(
        text(
            "INSERT INTO users (user_id, revision, created_at)"
            " VALUES (:user_id, 0, '2026-01-01 00:00:00+00')"
        ),
        {"user_id": user_id},
    )


@pytest.mark.parametrize(
    "url", ["postgresql://ann@host/x", "postgres://ann@host/x", "postgresql+psycopg://ann@host/x"]
)
def test_postgresql_is_spoken_by_psycopg_3(url: str) -> None:
    database = Database(url)
    assert database.engine.driver == "psycopg"
    assert database.path is None


@pytest.mark.parametrize("url", ["mysql://host/x", "postgresql+psycopg2://host/x", "sqlite+x:///a"])
def test_other_databases_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must begin with sqlite:// or postgresql://"):
        Database(url)


def test_the_password_is_never_shown() -> None:
    database = Database(f"postgresql://ann:{SECRET}@127.0.0.1:1/x")
    shown = [repr(database), repr(database.url), str(database.url), repr(database.engine)]
    with pytest.raises(StorageUnavailable) as failed, database.session():
        pass
    shown += [str(failed.value), repr(failed.value), str(failed.value.__cause__)]
    assert [text for text in shown if SECRET in text] == []
    assert "***" in repr(database)
    assert database.url.password == SECRET
    for url in (f"mysql://ann:{SECRET}@host/x", f"ann:{SECRET}@host"):
        with pytest.raises((ValueError, SQLAlchemyError)) as refused:
            Database(url)
        assert SECRET not in str(refused.value)


def test_a_server_that_is_not_there_does_not_answer() -> None:
    database = Database("postgresql://ann@127.0.0.1:1/x")
    assert not answers(database)
    with pytest.raises(StorageUnavailable, match="does not answer"):
        check(database)
    database.dispose()


def test_a_database_with_a_schema_answers(database) -> None:
    assert answers(database)


def test_a_connection_that_was_glanced_through_holds_transactions_as_before(database) -> None:
    def half() -> None:
        with database.writing() as session:
            add(session, "half")
            raise ZeroDivisionError

    with database.writing() as session:
        add(session, "ann")
    for _ in range(2):  # one connection, used again and again
        with database.glance() as connection:
            assert connection.exec_driver_sql("SELECT count(*) FROM users").scalar() == 1
        with pytest.raises(ZeroDivisionError):
            half()
        assert names(database) == ["ann"]


def test_a_connection_that_outlives_its_database_is_closed_when_given_back(database) -> None:
    with database.glance() as held:
        before = held.connection.dbapi_connection
        database.dispose()
    with database.glance() as late:  # as a thread may ask that runs for longer
        after = late.connection.dbapi_connection
    for connection in (before, after):
        with pytest.raises((sqlite3.ProgrammingError, psycopg.OperationalError), match="closed"):
            connection.execute("SELECT 1")


def test_a_glance_at_a_server_that_is_not_there_says_so() -> None:
    database = Database("postgresql://ann@127.0.0.1:1/x")
    with pytest.raises(StorageUnavailable), database.glance():
        pass
    database.dispose()


def test_sqlite_is_told_what_it_must_hold(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    upgrade(database)
    # A migration runs without foreign keys: its connection must not come back so. Then a new one.
    for _ in range(2):
        with database.session() as session:
            result = {
                name: session.execute(text(f"PRAGMA {name}")).scalar()
                for name in ("journal_mode", "foreign_keys", "busy_timeout")
            }
        assert result == {"journal_mode": "wal", "foreign_keys": 1, "busy_timeout": 30_000}
        database.engine.dispose()
    database.dispose()


def test_references_hold(database) -> None:
    with pytest.raises(IntegrityError), database.writing() as session:
        session.execute(
            text(
                "INSERT INTO signatures VALUES "
                "('nobody', 'v1', 1, :vector, '2026-01-01 00:00:00+00', 1)"
            ),
            {"vector": b"1234"},
        )


def test_a_transaction_stands_whole(database) -> None:
    with database.writing() as session:
        add(session, "ann")
        add(session, "bob")
    assert names(database) == ["ann", "bob"]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_or_not_at_all(database, error: type[BaseException]) -> None:
    def write_half() -> None:
        with database.writing() as session:
            add(session, "ann")
            raise error

    with pytest.raises(error):
        write_half()
    assert names(database) == []
    with database.writing() as session:
        add(session, "bob")
    assert names(database) == ["bob"]


def test_a_reader_sees_one_instant(database) -> None:
    everyone = select(UserRow.user_id)
    with database.session() as reader:
        assert reader.scalars(everyone).all() == []
        with database.writing() as session:
            add(session, "ann")
        assert reader.scalars(everyone).all() == []
    assert names(database) == ["ann"]


def test_reading_leaves_no_connection_unable_to_write(database) -> None:
    """A reader's connection goes back to the pool as it came."""
    for number in range(3):
        assert len(names(database)) == number
        with database.writing() as session:
            add(session, f"user {number}")


def test_a_database_in_memory_works() -> None:
    database = Database("sqlite://")
    upgrade(database)
    with database.writing() as session:
        add(session, "ann")
    assert names(database) == ["ann"]
    database.dispose()


def test_a_file_that_is_no_database_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    path.write_bytes(b"I am no database." * 100)
    database = Database(f"sqlite:///{path}")
    for look in (check, upgrade):
        with pytest.raises(NotADatabase, match=r"x\.db must be a SQLite database"):
            look(database)
    assert path.read_bytes() == b"I am no database." * 100
