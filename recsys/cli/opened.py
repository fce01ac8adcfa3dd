"""What commands open: settings with this call's flags on top, and storage with a fit schema."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys.cli.failures import ExitCode, Failure
from recsys.errors import Unavailable

if TYPE_CHECKING:
    from recsys.client import RecsysClient
    from recsys.settings import LoadedSettings, Settings
    from storage.database import Database
    from storage.histories import HistoryStore


def load_settings(**flags: Any) -> "LoadedSettings":
    """Read the settings under this call's flags, those of `recsys --set` included.

    Raises:
        SettingsRefused: as `recsys.settings.load_settings`.
    """
    from recsys.settings import load_settings as load

    context = click.get_current_context(silent=True)
    common: dict[str, Any] = (context.find_root().obj or {}) if context else {}
    return load(common | {name: value for name, value in flags.items() if value is not None})


def read_settings(**flags: Any) -> "Settings":
    """Read the values of all settings, as `load_settings`."""
    return load_settings(**flags).settings


@contextmanager
def opened_database(url: str) -> "Iterator[Database]":
    """Open a database whatever its schema; closed in the end."""
    from storage.database import Database

    try:
        database = Database(url)
    except ModuleNotFoundError as error:
        message = f"PostgreSQL needs {error.name}: pip install 'recsys[postgres]'"
        raise Failure(message) from error
    try:
        yield database
    finally:
        database.dispose()


@contextmanager
def opened_store(settings: "Settings", *, creates: bool) -> "Iterator[HistoryStore]":
    """Open the choices that the settings name.

    Args:
        creates: make the schema if the database is an embedded one that nothing was ever stored
            in. Any other database is brought up by `recsys db upgrade` alone.

    Raises:
        SchemaMismatch: if the schema is older or newer than the code.
    """
    from storage.blobs import BlobStore
    from storage.database import require_current
    from storage.histories import HistoryStore

    if creates:
        create_if_new(settings)
    elif is_new(settings.database_url):
        message = "nothing is stored yet: bring choices in with `recsys import` or `recsys choose`"
        raise Failure(message, ExitCode.NOT_FOUND)
    with opened_database(settings.database_url) as database:
        require_current(database)
        yield HistoryStore(database, BlobStore(settings.blob_url))


@contextmanager
def opened_client(settings: "Settings") -> "Iterator[RecsysClient]":
    """Open a client of the server at the settings' address; closed in the end."""
    from recsys.client import RecsysClient

    with RecsysClient(settings.address, timeout_s=settings.timeout_s) as client:
        try:
            yield client
        except Unavailable as error:
            raise Unavailable(
                f"the server at {settings.address} does not answer ({error}): start one with"
                " `recsys serve`, or name another"
            ) from error


def create_if_new(settings: "Settings") -> None:
    """Make the schema of an embedded database that holds nothing yet; else do nothing."""
    from storage.database import upgrade

    if is_new(settings.database_url):
        with opened_database(settings.database_url) as database:
            upgrade(database)


def is_new(url: str) -> bool:
    """Whether a URL names an embedded database without a single table in it."""
    path = sqlite_path(url)
    if path is None:
        return False
    if not path.exists() or path.stat().st_size == 0:
        return True
    try:
        with closing(sqlite3.connect(path)) as connection:
            (tables,) = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()
    except sqlite3.DatabaseError as error:
        raise Failure(
            f"{path} must be a SQLite database and cannot be read as one ({error}): name another"
            " by RECSYS_DATABASE_URL"
        ) from error
    return bool(tables == 0)


def sqlite_path(url: str) -> Path | None:
    """Return the file of an embedded database; None for a server or a database in memory."""
    scheme, separator, rest = url.partition(":///")
    if not separator or not scheme.startswith("sqlite"):
        return None
    name = rest.partition("?")[0]
    return Path(name) if name and name != ":memory:" else None
