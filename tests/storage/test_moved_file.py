"""An embedded database whose file is moved or replaced while it is open refuses, and loses nothing.

A connection stays with the file that it opened, and a new one would create a file or take another.
"""

import shutil
import sqlite3
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from storage.database import Database, answers, upgrade
from storage.errors import StorageUnavailable
from storage.tables import UserRow

WAYS = ("session", "glance", "writing")
ADD_ANN = text(
    "INSERT INTO users (user_id, revision, created_at) VALUES (:user_id, 0, :at)"
).bindparams(user_id="ann", at="2026-01-01 00:00:00+00")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    return tmp_path / "data" / "recsys.db"


@pytest.fixture
def database(path: Path):
    """Open, with several connections in its pool."""
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    with database.session(), database.session(), database.glance():
        pass
    yield database
    database.dispose()


def num_users(database: Database, way: str) -> int:
    with getattr(database, way)() as opened:
        return opened.scalar(select(func.count()).select_from(UserRow))


def refuse_all(database: Database) -> None:
    for way in WAYS * 3:  # more often than the pool has connections
        with pytest.raises(StorageUnavailable, match="was moved or replaced") as refused:
            num_users(database, way)
        assert str(database.path) in str(refused.value)
    assert not answers(database)


def test_a_file_that_was_moved_away_is_refused_and_not_made_anew(database, path: Path) -> None:
    path.rename(path.with_name("old.db"))
    refuse_all(database)
    assert not path.exists()

    path.with_name("old.db").rename(path)
    assert [num_users(database, way) for way in WAYS] == [0, 0, 0]
    assert answers(database)


def test_a_copy_at_the_same_path_is_refused_and_left_as_it_is(database, path: Path) -> None:
    with database.writing() as session:
        session.execute(ADD_ANN)
    path.rename(path.with_name("old.db"))
    shutil.copy(path.with_name("old.db"), path)
    backup = path.read_bytes()

    refuse_all(database)
    database.dispose()  # connections made anew take no other file either
    refuse_all(database)
    assert path.read_bytes() == backup


def test_a_folder_that_was_moved_away_is_refused(database, path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))
    refuse_all(database)

    path.parent.with_name("elsewhere").rename(path.parent)
    assert num_users(database, "writing") == 0


def test_connections_to_a_file_that_was_replaced_are_closed(database, path: Path) -> None:
    with database.glance() as one, database.glance() as another:
        opened = [each.connection.driver_connection for each in (one, another)]
    path.rename(path.with_name("old.db"))
    shutil.copy(path.with_name("old.db"), path)
    refuse_all(database)

    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
    assert database.engine.pool.checkedout() == 0


def test_a_vacuum_and_another_upgrade_keep_the_file(database) -> None:
    with database.glance() as connection:
        connection.exec_driver_sql("VACUUM")
    upgrade(database)

    assert num_users(database, "session") == 0


def test_a_reader_of_a_file_that_was_replaced_is_refused(database, path: Path) -> None:
    reader = Database(f"sqlite:///{path}", read_only=True)
    assert num_users(reader, "session") == 0
    path.rename(path.with_name("old.db"))
    shutil.copy(path.with_name("old.db"), path)

    with pytest.raises(StorageUnavailable, match="was moved or replaced"):
        num_users(reader, "session")
    reader.dispose()


def test_a_relative_path_is_that_of_the_folder_it_was_opened_in(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    database = Database("sqlite:///recsys.db")
    upgrade(database)
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path / "other")

    assert num_users(database, "session") == 0
    database.dispose()


def test_a_database_in_memory_has_no_file_to_lose() -> None:
    database = Database("sqlite://")
    with database.glance() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1
    database.dispose()
