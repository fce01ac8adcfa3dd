"""A URL -> engine, sessions and the state of the schema.

Opening creates nothing: `upgrade` makes or moves the schema, `require_current` refuses another.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, event, make_url, text
from sqlalchemy.exc import OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from storage.errors import SchemaMismatch, StorageFull

BUSY_TIMEOUT_S = 30
_MIGRATIONS = Path(__file__).parent / "migrations"
_UPGRADE_LOCK = 7_262_379  # any number that no other program locks in this database


class Database:
    """An engine and its sessions for one URL.

    Args:
        url: "sqlite:////path/recsys.db" or "postgresql://user@host/name" (psycopg 3).

    Raises:
        ValueError: if the URL is of no database supported here.
    """

    def __init__(self, url: str) -> None:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            parsed = parsed.set(drivername="postgresql+psycopg")
        if parsed.drivername not in ("sqlite", "postgresql+psycopg"):
            raise ValueError(
                f"database URL must begin with sqlite:// or postgresql://, "
                f"got {parsed.drivername}://"
            )
        self.url = parsed
        self.is_sqlite = parsed.drivername == "sqlite"
        if self.is_sqlite and parsed.database not in (None, "", ":memory:"):
            Path(str(parsed.database)).parent.mkdir(parents=True, exist_ok=True)
        options: dict[str, Any] = (
            {"connect_args": {"timeout": BUSY_TIMEOUT_S}}
            if self.is_sqlite
            else {"pool_pre_ping": True}
        )
        self.engine = create_engine(parsed, **options)
        if self.is_sqlite:
            event.listen(self.engine, "connect", _prepare_sqlite)

    def __repr__(self) -> str:
        return f"Database({self.url.render_as_string(hide_password=True)!r})"

    @contextmanager
    def session(self) -> Iterator[Session]:
        """A transaction for reading: committed at the end, rolled back on any error."""
        with Session(self.engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction for writing.

        On SQLite the write lock is taken at once, for a reader that turns writer half-way cannot
        wait for another one.

        Raises:
            StorageFull: if the database has no room left; nothing of the transaction stands.
        """
        try:
            with Session(self.engine, expire_on_commit=False) as session, session.begin():
                if self.is_sqlite:
                    session.execute(text("BEGIN IMMEDIATE"))
                yield session
        except OperationalError as error:
            if "full" in str(error.orig) or "No space" in str(error.orig):
                raise StorageFull(
                    "the database has no room left: free some and try again"
                ) from error
            raise

    def dispose(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _prepare_sqlite(connection: Any, _: object) -> None:
    # The driver would begin transactions by itself, too late for BEGIN IMMEDIATE.
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


@dataclass(frozen=True)
class SchemaStatus:
    """Where a database's schema is, and where this code wants it.

    Attributes:
        current: revision found, None in an empty database.
        expected: revision of this code.
        is_newer: True when `current` is none that this code knows.
    """

    current: str | None
    expected: str
    is_newer: bool

    @property
    def is_current(self) -> bool:
        """True when code and database agree."""
        return self.current == self.expected


def check(database: Database) -> SchemaStatus:
    """Compare the database's schema revision with the code's."""
    script = ScriptDirectory.from_config(_config())
    with database.engine.connect() as connection:
        current = MigrationContext.configure(connection).get_current_revision()
    expected = str(script.get_current_head())
    known = {revision.revision for revision in script.walk_revisions()}
    return SchemaStatus(current, expected, current is not None and current not in known)


def require_current(database: Database) -> None:
    """Pass only when code and database agree.

    Raises:
        SchemaMismatch: if the database is empty, older or newer.
    """
    status = check(database)
    if status.is_newer:
        raise SchemaMismatch(
            f"the database is at {status.current}, which this code does not know "
            f"(it needs {status.expected}): upgrade the package"
        )
    if not status.is_current:
        raise SchemaMismatch(
            f"the database is at {status.current or 'nothing'}, this code needs "
            f"{status.expected}: run `recsys db upgrade`"
        )


def upgrade(database: Database, revision: str = "head") -> str:
    """Bring the schema to the code's revision; safe to run again and from two processes.

    Returns:
        The revision it is at now.

    Raises:
        SchemaMismatch: if the database is newer than the code.
    """
    status = check(database)
    if status.is_newer:
        require_current(database)
    with _alone(database) as connection:
        command.upgrade(_config(connection), revision)
    return str(check(database).current)


def downgrade(database: Database, revision: str) -> None:
    """Take the schema back to a revision; "base" is an empty database."""
    with _alone(database) as connection:
        command.downgrade(_config(connection), revision)


def healthy(database: Database) -> bool:
    """Whether the database answers a query."""
    try:
        with database.engine.connect() as connection:
            connection.execute(text("SELECT 1"))
    except SQLAlchemyError:
        return False
    return True


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    """A transaction that no other migration shares."""
    with database.engine.begin() as connection:
        if database.is_sqlite:
            connection.execute(text("BEGIN IMMEDIATE"))
        else:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _UPGRADE_LOCK})
        yield connection


def _config(connection: Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    return config
