"""Real processes for runs that share their work, and images as they are stored."""

import hashlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from storage.records import ImageFacts

CALL = """
import importlib.util, sys

spec = importlib.util.spec_from_file_location("t", sys.argv[1])
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
t.train(*sys.argv[2:])
"""


@pytest.fixture(scope="session")
def as_png() -> Callable[[np.ndarray], tuple[ImageFacts, bytes]]:
    """Given pixels of shape (H, W, 3), uint8: facts and bytes of their PNG."""

    def encoded(pixels: np.ndarray) -> tuple[ImageFacts, bytes]:
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "PNG")
        data, (height, width) = file.getvalue(), pixels.shape[:2]
        digest = hashlib.sha256(data).hexdigest()
        return ImageFacts(digest, "image/png", width, height, len(data)), data

    return encoded


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
