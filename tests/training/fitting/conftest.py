"""Real processes for runs that share their work."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

CALL = """
import importlib.util, sys

spec = importlib.util.spec_from_file_location("t", sys.argv[1])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
t.train(*sys.argv[2:])
"""


@pytest.fixture(scope="session")
def launch() -> Callable[..., None]:
    """Given a test's module, a number of processes and arguments: its `train`, called in each."""
    return _launch


def _launch(module: str, num_processes: int, *arguments: str) -> None:
    command = [sys.executable]
    if num_processes > 1:
        # What `accelerate launch` runs on one machine with GPUs; on CPUs it would ask for mpirun.
        launcher = ["-m", "torch.distributed.run", "--standalone"]
        command += [*launcher, "--nproc_per_node", str(num_processes)]
    script = Path(arguments[0]).with_name("call.py")
    script.write_text(CALL)
    done = subprocess.run(
        [*command, str(script), module, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stderr[-2000:]
