"""A person with an empty home folder, who types commands."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from recsys.cli.invocation import read_settings
from recsys.cli.main import cli
from recsys.runtime import Runtime
from storage.histories import HistoryStore


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A fresh home; no setting from outside reaches the command."""
    for name in [name for name in os.environ if name.upper().startswith("RECSYS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


Run = Callable[..., Result]


@pytest.fixture
def run() -> Run:
    """Call a command in this process; what it writes and its exit code come back."""

    def run(*arguments: str, input: str | None = None) -> Result:
        result = CliRunner().invoke(cli, list(arguments), input=input, prog_name="recsys")
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        return result

    return run


@pytest.fixture
def spawn(home: Path) -> Callable[..., subprocess.Popen]:
    """Start the real command in a process of its own; stopped in the end if it still runs."""
    started = []

    def spawn(*arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-m", "recsys.cli", *arguments]
        pipe = subprocess.PIPE
        started.append(subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True))
        return started[-1]

    yield spawn
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture(scope="session")
def picture() -> Callable[..., bytes]:
    """Make a small PNG, another one for each seed."""

    def picture(seed: int, size: int = 8) -> bytes:
        pixels = np.random.default_rng(seed).integers(0, 256, (size, size, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        return file.getvalue()

    return picture


@pytest.fixture
def store(home: Path) -> Iterator[HistoryStore]:
    """The storage that commands use by default; created."""
    with Runtime(read_settings(), creates=True) as runtime:
        yield runtime.store


@pytest.fixture(scope="session")
def checkpoint(small_checkpoint: Path) -> Path:
    """A scorer that ranks by random weights, on two references."""
    return small_checkpoint
