"""A database by its URL: engine, sessions and the revision of its schema.

Opening creates nothing: `upgrade` creates or migrates the schema, `require_usable` checks it.
"""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import URL, Connection, create_engine, event, inspect, make_url, select, text
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as NoConnection
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry

from storage.errors import SchemaMismatch, StorageFull, StorageUnavailable
from storage.sqlite import (
    BUSY_TIMEOUT_S,
    OneFile,
    is_new,
    prepare,
    prepare_reading,
    sqlite_file,
)
from storage.tables import CompatibilityRow

_NO_ANSWER = "the database does not answer or is busy: try again later"
CONNECT_TIMEOUT_S = 10
_MIGRATIONS = Path(__file__).parent / "migrations"
_UPGRADE_LOCK = 7_262_379  # an arbitrary key for an advisory lock
_NUM_CONNECTIONS = 20
_POSTGRES_DISK_FULL = "53100"
_ONE_SNAPSHOT = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}


class Database:
    """An engine and its sessions for one URL.

    Args:
        url: "sqlite:////path/recsys.db" or "postgresql://user@host/name" (psycopg 3).
        read_only: the database itself refuses writes.

    Raises:
        ValueError: if the URL is of a database that is not supported.
    """

    def __init__(self, url: str, *, read_only: bool = False) -> None:
        self.url = _supported(url)
        self.is_sqlite = self.url.drivername == "sqlite"
        # Waiting here is in order and wakes at once; SQLite's own lock is polled, in no order.
        self._turn = threading.Lock()
        options: dict[str, Any] = {"pool_pre_ping": True}
        if self.is_sqlite:
            options = {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
        elif "connect_timeout" not in self.url.query:
            options["connect_args"] = {"connect_timeout": CONNECT_TIMEOUT_S}
        if self.path is not None or not self.is_sqlite:
            options |= {"pool_size": _NUM_CONNECTIONS, "pool_timeout": BUSY_TIMEOUT_S}
        if read_only and not self.is_sqlite:
            options["execution_options"] = {"postgresql_readonly": True}
        self.engine = create_engine(self.url, **options)
        self._is_disposed = False
        event.listen(self.engine, "checkin", self._close_if_disposed)
        if self.is_sqlite:
            event.listen(self.engine, "connect", prepare_reading if read_only else prepare)
        if self.path is not None:
            OneFile(self.path).guard(self.engine)
        # SQLite's connections are in autocommit mode already; this engine shares the pool.
        autocommit: dict[str, Any] = {} if self.is_sqlite else {"isolation_level": "AUTOCOMMIT"}
        self._single = self.engine.execution_options(**autocommit)

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @property
    def path(self) -> Path | None:
        """The file of an embedded database; None for a server, or one in memory."""
        return sqlite_file(self.url)

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A read transaction: all its queries see one snapshot.

        Raises:
            StorageUnavailable: if the database does not answer or is busy, or the file of an
                embedded one was moved or replaced since it was opened first.
        """
        with (
            _translated_errors(),
            Session(self.engine, expire_on_commit=False) as session,
            session.begin(),
        ):
            if self.is_sqlite:
                session.execute(text("BEGIN"))
            else:
                session.connection(execution_options=_ONE_SNAPSHOT)
            yield session

    @contextmanager
    def glance(self) -> Iterator[Connection]:
        """A connection for a single read statement, which takes a third of a session's time.

        Raises:
            StorageUnavailable: as `session`.
        """
        with _translated_errors(), self._single.connect() as connection:
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A write transaction: committed at the end, rolled back on any error.

        On SQLite it takes the write lock at once, because a transaction that has begun to read
        cannot wait for the lock. Do not nest.

        Raises:
            StorageFull: if the database has no room left; nothing is written.
            StorageUnavailable: as `session`; likewise.
        """
        with _translated_errors():
            if self.is_sqlite:
                with self._its_turn(), self._writing() as session:
                    session.execute(text("BEGIN IMMEDIATE"))
                    yield session
            else:
                with self._writing() as session:
                    yield session

    @contextmanager
    def _its_turn(self) -> Iterator[None]:
        # On timeout, SQLite's own lock decides, and reports when it is busy.
        has_turn = self._turn.acquire(timeout=BUSY_TIMEOUT_S)
        try:
            yield
        finally:
            if has_turn:
                self._turn.release()

    @contextmanager
    def _writing(self) -> Iterator[Session]:
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    def dispose(self) -> None:
        """Close all connections; those in use are closed when they are given back."""
        self._is_disposed = True
        self.engine.dispose()

    def _close_if_disposed(self, _: object, record: ConnectionPoolEntry) -> None:
        if self._is_disposed:
            record.invalidate()


@dataclass(frozen=True)
class SchemaStatus:
    """The schema revision of a database, and the one that this code needs.

    Attributes:
        current: of the database; None if it is empty.
        expected: revision of this code.
        is_newer: True when `current` is none that this code knows.
        is_served: True when a newer database says that it still serves this code: its schema has
            only grown since.
    """

    current: str | None
    expected: str
    is_newer: bool
    is_served: bool = False

    @property
    def is_current(self) -> bool:
        """True when code and database agree."""
        return self.current == self.expected

    @property
    def is_usable(self) -> bool:
        """True when this code may read and write the database as it is."""
        return self.is_current or self.is_served


def check(database: Database) -> SchemaStatus:
    """Compare the schema revisions of database and code.

    Raises:
        NotADatabase: as `is_new`.
        StorageUnavailable: if the database does not answer or is busy.
    """
    script = ScriptDirectory.from_config(_config())
    known = {revision.revision for revision in script.walk_revisions()}
    expected = str(script.get_current_head())
    if is_new(database.path):
        return SchemaStatus(None, expected, is_newer=False)
    with _translated_errors(), database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
        is_newer = current is not None and current not in known
        # Revisions form a line: who knows the oldest one that is served is at it or past it.
        is_served = is_newer and _oldest_served(connection) in known
    return SchemaStatus(current, expected, is_newer, is_served)


def _oldest_served(connection: Connection) -> str | None:
    """The oldest revision whose code the schema still serves; None where it does not tell."""
    if not inspect(connection).has_table(CompatibilityRow.__tablename__):
        return None
    return connection.scalar(select(CompatibilityRow.oldest_revision))


def require_usable(database: Database) -> None:
    """Pass only at this code's revision, or at a later one that still serves this code.

    Raises:
        SchemaMismatch: if the database is empty or older, or newer and no longer serves this code.
    """
    status = check(database)
    if status.is_usable:
        return
    if status.is_newer:
        raise SchemaMismatch(
            f"the database is at {status.current}, which no longer serves this code "
            f"(it needs {status.expected}): upgrade the package"
        )
    found = f"is at {status.current}" if status.current else "is empty"
    raise SchemaMismatch(
        f"the database {found}, this code needs {status.expected}: run `recsys db upgrade`"
    )


def upgrade(database: Database, revision: str = "head") -> str:
    """Migrate the schema to the code's revision; safe to repeat, and in two processes at once.

    A newer schema that still serves this code is left as it is.

    Returns:
        The schema's revision now.

    Raises:
        SchemaMismatch: if the database is newer and no longer serves the code.
        StorageFull: if there is no room left; the schema is as it was.
    """
    status = check(database)
    if status.is_newer:
        require_usable(database)
        return str(status.current)
    if database.path is not None:
        database.path.parent.mkdir(parents=True, exist_ok=True)
    with _translated_errors(), _exclusively(database) as connection:
        command.upgrade(_config(connection), revision)
    return str(check(database).current)


def downgrade(database: Database, revision: str) -> None:
    """Migrate the schema back to a revision; "base" empties the database."""
    with _exclusively(database) as connection:
        command.downgrade(_config(connection), revision)


def answers(database: Database) -> bool:
    """Whether the database is there, has a schema and answers a query; blocks as long as it does.

    A SQLite file that was moved away or replaced answers no more, although connections to it are
    still open.
    """
    if not _exists(database):
        return False
    try:
        with database.engine.connect() as connection:
            return connection.execute(text("SELECT 1 FROM alembic_version")).first() is not None
    except (SQLAlchemyError, StorageUnavailable):
        return False


def _exists(database: Database) -> bool:
    """Whether there is a database; connecting to a missing SQLite file would create it."""
    return database.path is None or database.path.exists()


@contextmanager
def _exclusively(database: Database) -> Iterator[Connection]:
    """A transaction that excludes other migrations."""
    with database.engine.connect() as connection:
        if database.is_sqlite:
            # Rebuilding a table drops it first, which would delete the rows that refer to it.
            connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        try:
            yield connection
            if database.is_sqlite:
                broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
                assert not broken, f"a migration broke references: {broken[:3]}"
            connection.commit()
        finally:
            connection.rollback()
            if database.is_sqlite:
                connection.exec_driver_sql("PRAGMA foreign_keys=ON")


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config


def _supported(url: str) -> URL:
    parsed = make_url(url)
    if parsed.drivername in ("postgresql", "postgres"):
        parsed = parsed.set(drivername="postgresql+psycopg")
    if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
        raise ValueError(
            f"database URL must begin with sqlite:// or postgresql://, got {parsed.drivername}://"
        )
    return parsed


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate errors of drivers and the pool into those of `storage.errors`."""
    try:
        yield
    except DBAPIError as error:
        if _is_full(error.orig):
            raise StorageFull("the database has no room left: free some and try again") from error
        if isinstance(error, OperationalError | InterfaceError):
            raise StorageUnavailable(_NO_ANSWER) from error
        raise
    except NoConnection as error:
        raise StorageUnavailable(_NO_ANSWER) from error


def _is_full(error: BaseException | None) -> bool:
    if isinstance(error, sqlite3.Error):
        # SQLITE_IOERR_SHMSIZE: no room for the file that readers and writers share.
        full = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE)
        return getattr(error, "sqlite_errorcode", None) in full
    return getattr(error, "sqlstate", None) == _POSTGRES_DISK_FULL
