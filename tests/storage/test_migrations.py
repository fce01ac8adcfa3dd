"""Schema up, down and up again; found older, newer or missing; raced by processes."""

import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import event, inspect, text

from storage.database import Database, answers, check, downgrade, require_usable, upgrade
from storage.errors import SchemaMismatch, StorageFull
from storage.signatures import SignatureStore
from storage.tables import Table

BEGIN = "2026-01-02 03:04:05+00:00"
TABLES = set(Table.metadata.tables)

UPGRADE = """
import sys, time
from pathlib import Path
from storage.database import Database, upgrade

database_url, gate, name = sys.argv[1:]
database = Database(database_url)
Path(gate, name).touch()
while not Path(gate, "go").exists():
    time.sleep(0.001)
print(upgrade(database))
"""


def tables(database: Database) -> set[str]:
    with database.engine.connect() as connection:
        return set(inspect(connection).get_table_names()) - {"alembic_version"}


def differences(database: Database) -> list:
    with database.engine.connect() as connection:
        return compare_metadata(MigrationContext.configure(connection), Table.metadata)


def set_revision(database: Database, revision: str, *, serves: str | None = None) -> None:
    """Let a database say that a later version has upgraded it, and whom it still serves."""
    with database.engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = :r"), {"r": revision})
        connection.execute(
            text("UPDATE schema_compatibility SET oldest_revision = :r"), {"r": serves or revision}
        )


@pytest.fixture
def empty(database_url: str):
    database = Database(database_url)
    yield database
    database.dispose()


def test_up_down_and_up_again(empty: Database) -> None:
    revision = upgrade(empty)
    assert tables(empty) == TABLES
    assert differences(empty) == []
    downgrade(empty, "base")
    assert tables(empty) == set()
    assert check(empty).current is None
    assert upgrade(empty) == revision == check(empty).expected
    assert tables(empty) == TABLES
    assert differences(empty) == []


def test_the_comparison_sees_a_difference(database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("DROP INDEX ix_choices_liked"))
        connection.execute(text("ALTER TABLE users ADD COLUMN nickname TEXT"))
    assert {difference[0] for difference in differences(database)} == {"add_index", "remove_column"}


def test_ids_sort_by_code_point_in_migrated_tables(store, choose) -> None:
    """The comparison above does not look at collations."""
    users = ["b", "a", "A", "Z", "é", "z", "😀", "\ue000", "a b", "a-b", "ab"]
    store.append_many([choose(user_id=user) for user in users])
    assert store.user_ids() == sorted(users)
    assert store.user_ids(after="a", limit=2) == ["a b", "a-b"]
    if not store.database.is_sqlite:  # the server here may have that order by itself
        with store.database.engine.connect() as connection:
            columns = {each["name"]: each for each in inspect(connection).get_columns("users")}
        assert columns["user_id"]["type"].collation == "C"


def test_upgrade_again_changes_nothing(store, choose, whole) -> None:
    store.append(*choose())
    before = whole(store)
    assert upgrade(store.database) == check(store.database).expected
    assert whole(store) == before


@pytest.mark.parametrize("turn", range(3))
def test_many_upgrade_an_empty_database_at_once(database_url, together, turn: int) -> None:
    databases = [Database(database_url) for _ in range(8)]
    try:
        answers = together([partial(upgrade, database) for database in databases])
        assert set(answers) == {check(databases[0]).expected}
        assert tables(databases[0]) == TABLES
    finally:
        for database in databases:
            database.dispose()


def test_processes_upgrade_at_once(empty: Database, database_url: str, tmp_path: Path) -> None:
    names = ["first", "second", "third"]
    common = [sys.executable, "-c", UPGRADE, database_url, str(tmp_path)]
    processes = [
        subprocess.Popen([*common, name], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for name in names
    ]
    try:
        while not all((tmp_path / name).exists() for name in names):
            assert all(process.poll() is None for process in processes)
        (tmp_path / "go").touch()
        answers = [process.communicate() for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.communicate()
    assert answers == [(f"{check(empty).expected}\n", "")] * len(names)
    assert tables(empty) == TABLES


def test_an_empty_database_is_refused_with_the_remedy(empty: Database) -> None:
    with pytest.raises(SchemaMismatch, match=r"is empty, .*needs .*run `recsys db upgrade`"):
        require_usable(empty)
    assert not check(empty).is_current


def test_an_older_database_is_refused_with_the_remedy(database) -> None:
    downgrade(database, "0001")
    newest = check(database).expected
    with pytest.raises(SchemaMismatch, match=rf"at 0001.*needs {newest}.*run `recsys db upgrade`"):
        require_usable(database)
    assert not check(database).is_newer
    assert upgrade(database) == newest


@pytest.mark.parametrize("serves", ["0001", "0005", "newest"])
def test_a_newer_database_that_has_only_grown_serves_this_code(store, choose, serves) -> None:
    database = store.database
    newest = check(database).expected
    with database.engine.begin() as connection:
        connection.execute(text("ALTER TABLE users ADD COLUMN nickname TEXT"))
    set_revision(database, "9999_from_tomorrow", serves=newest if serves == "newest" else serves)
    status = check(database)
    assert (status.is_newer, status.is_current, status.is_usable) == (True, False, True)
    require_usable(database)
    assert upgrade(database) == "9999_from_tomorrow" == check(database).current
    store.append(*choose())
    assert len(store.read("ann").choices) == 1


def test_a_newer_database_that_tells_nothing_is_refused(database) -> None:
    with database.engine.begin() as connection:
        connection.execute(text("DROP TABLE schema_compatibility"))
        connection.execute(text("UPDATE alembic_version SET version_num = '9999_from_tomorrow'"))
    with pytest.raises(SchemaMismatch, match="no longer serves this code"):
        require_usable(database)


def test_a_newer_database_is_refused_and_left_alone(database) -> None:
    set_revision(database, "9999_from_tomorrow", serves="9998_from_tomorrow")
    with pytest.raises(SchemaMismatch, match=r"9999_from_tomorrow.*upgrade the package"):
        require_usable(database)
    with pytest.raises(SchemaMismatch, match="upgrade the package"):
        upgrade(database)
    assert check(database).current == "9999_from_tomorrow"
    assert tables(database) == TABLES


def test_a_migration_that_fails_leaves_nothing(empty: Database, monkeypatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("stop here")

    with monkeypatch.context() as patch:
        # After four of the five tables.
        patch.setattr("alembic.op.create_index", fail)
        with pytest.raises(RuntimeError, match="stop here"):
            upgrade(empty)
    assert tables(empty) == set()
    assert check(empty).current is None
    upgrade(empty)
    assert tables(empty) == TABLES


def test_a_schema_that_finds_no_room_is_not_half_made(sqlite_url: str) -> None:
    database = Database(sqlite_url)
    most = [3]

    def limit(connection, *_: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {most[0]}")

    event.listen(database.engine, "checkout", limit)
    with pytest.raises(StorageFull, match="no room left"):
        upgrade(database)
    assert tables(database) == set()
    most[0] = 2**30
    upgrade(database)
    assert tables(database) == TABLES
    database.dispose()


def test_looking_creates_nothing(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/a/b/recsys.db")
    assert not answers(database)
    assert check(database).current is None
    with pytest.raises(SchemaMismatch):
        require_usable(database)
    assert list(tmp_path.iterdir()) == []
    database.dispose()


def test_signatures_of_an_older_database_are_numbered(empty: Database) -> None:
    upgrade(empty, "0001")
    with empty.engine.begin() as connection:
        for user_id in ("ann", "bob"):
            values = {"user": user_id, "at": BEGIN, "vector": b"\0\0\0\0"}
            connection.execute(
                text("INSERT INTO users (user_id, revision, created_at) VALUES (:user, 1, :at)"),
                values,
            )
            added = text("INSERT INTO signatures VALUES (:user, 'v1', 1, :vector, :at)")
            connection.execute(added, values)
    upgrade(empty)
    signatures = SignatureStore(empty)
    batch = signatures.changes("v1", after=0, limit=10)
    assert (batch.user_ids, batch.sequences.tolist()) == (("ann", "bob"), [1, 2])
    assert signatures.last_sequence("v1") == 2
    downgrade(empty, "0001")
    assert "signature_counters" not in tables(empty)
