"""SQLite, the embedded database: its file, and how a connection to it is prepared."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Engine, event, make_url
from sqlalchemy.exc import ArgumentError

from storage.errors import NotADatabase, StorageUnavailable

BUSY_TIMEOUT_S = 30
_RETRY_S = 0.01


def sqlite_file(url: str | URL) -> Path | None:
    """Return the file that a URL names; None for a server, or for a database in memory.

    Args:
        url: "sqlite:///path/recsys.db", say; a query string is not part of the path.

    Raises:
        ValueError: if it is no URL.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as error:
        raise ValueError(str(error)) from error
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        return None
    return Path(str(parsed.database))


def is_new(path: Path | None) -> bool:
    """Whether an embedded database holds no table yet; creates nothing.

    Args:
        path: of its file, which may be missing; None for any other database, which is never new.

    Raises:
        NotADatabase: if the file is not a SQLite database.
        StorageUnavailable: if it stays locked for `BUSY_TIMEOUT_S`, or cannot be opened.
    """
    if path is None:
        return False
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(path, timeout=BUSY_TIMEOUT_S)) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.OperationalError as error:
        raise StorageUnavailable(
            f"{path} cannot be read now ({error}): try again when no other process locks it,"
            " or check who may read it"
        ) from error
    except sqlite3.DatabaseError as error:
        raise NotADatabase(
            f"{path} must be a SQLite database and cannot be read as one ({error}): name another"
            " by RECSYS_DATABASE_URL"
        ) from error
    return bool(tables == 0)


class OneFile:
    """Refuses connections once a path names another file than at the first one, or none at all.

    A connection stays with the file that it opened, wherever that is moved: who opens the path
    would never see what it writes there. One that is refused is closed. A file that is put back
    serves again.

    Args:
        path: of the database's file, which may be missing until the first connection makes it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path.absolute()
        self._first: tuple[int, int] | None = None

    def guard(self, engine: Engine) -> None:
        """Check before a connection of an engine is opened and whenever one leaves its pool."""
        event.listen(engine, "do_connect", self._require_same)
        event.listen(engine, "connect", self._remember)
        event.listen(engine, "checkout", self._require_same)

    def _remember(self, *_: object) -> None:
        if self._first is None:
            self._first = self._identity()

    def _require_same(self, *_: object) -> None:
        if self._first is not None and self._identity() != self._first:
            raise StorageUnavailable(
                f"the database file at {self._path} was moved or replaced while it was open: put it"
                " back, or restart"
            )

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino


def prepare(connection: Any, _: object) -> None:
    """Set a new connection up: WAL, foreign keys, and transactions begun by us alone.

    Raises:
        sqlite3.OperationalError: if the file stays locked for `BUSY_TIMEOUT_S`.
    """
    # The driver would begin transactions by itself, too late for BEGIN IMMEDIATE.
    connection.isolation_level = None
    _write_ahead(connection)
    for pragma in ("synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def prepare_reading(connection: Any, _: object) -> None:
    """Set a new connection up that can change nothing, not even the kind of its journal."""
    connection.isolation_level = None
    connection.execute("PRAGMA query_only=ON")


def _write_ahead(connection: sqlite3.Connection) -> None:
    """Turn the file to WAL, or wait while another process does.

    SQLite does not apply its busy timeout here: of two that turn a new file, one is told at once
    that it is locked.
    """
    give_up_at = time.monotonic() + BUSY_TIMEOUT_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            is_busy = error.sqlite_errorcode == sqlite3.SQLITE_BUSY
            if not is_busy or time.monotonic() > give_up_at:
                raise
        time.sleep(_RETRY_S)
