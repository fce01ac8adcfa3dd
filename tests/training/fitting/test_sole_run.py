"""A folder has one run at a time, and a killed one leaves it free."""

import errno
import subprocess
import sys
from types import SimpleNamespace

import pytest
from rich.console import Console

from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from training.fitting.parallel import Processes
from training.fitting.recipes.tiny import tiny
from training.fitting.sole_run import sole_run
from training.fitting.stages import Training

HELD = """
import sys, time
from pathlib import Path
from training.fitting.sole_run import sole_run

with sole_run(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_killed_run_leaves_its_folder_free(tmp_path) -> None:
    command = [sys.executable, "-c", HELD, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        try:
            assert other.stdout.readline() == "held\n"
            refused = pytest.raises(ValueError, match=f"another run is using {tmp_path}: wait")
            with refused, sole_run(tmp_path):
                pass
        finally:
            other.kill()
    with sole_run(tmp_path):
        pass


def test_the_processes_of_one_run_share_its_folder(tmp_path) -> None:
    second = Processes(SimpleNamespace(process_index=1, num_processes=2))
    with sole_run(tmp_path), sole_run(tmp_path, second):
        pass


def test_a_run_that_begins_in_python_keeps_to_itself_too(tmp_path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'recsys.db'}")
    upgrade(database)
    store, folder = (
        HistoryStore(database, BlobStore(f"file://{tmp_path / 'blobs'}")),
        tmp_path / "a",
    )
    training = Training(tiny(), "a base", store, folder, Console(quiet=True))
    with sole_run(folder), pytest.raises(ValueError, match=f"another run is using {folder}"):
        training.run()
    database.dispose()


@pytest.mark.parametrize(("number", "goes_on"), [(errno.ENOLCK, True), (errno.EIO, False)])
def test_a_file_system_without_locks_is_no_obstacle(tmp_path, monkeypatch, number, goes_on) -> None:
    def refuse(*_: object) -> None:
        raise OSError(number, "no lock")

    monkeypatch.setattr("storage.files.fcntl.flock", refuse)
    if goes_on:
        with sole_run(tmp_path):
            return
    with pytest.raises(OSError, match="no lock"), sole_run(tmp_path):
        pass
