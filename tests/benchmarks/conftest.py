"""What the toy runs of the benchmarks share."""

from pathlib import Path

import pytest

from tests.benchmarks.toy_checkpoint import write_toy_checkpoint


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of random weights, with its base in it; it reads two references behind three tokens."""
    return write_toy_checkpoint(tmp_path_factory.mktemp("checkpoint"))
