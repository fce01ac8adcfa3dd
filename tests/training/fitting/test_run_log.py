"""What a run tells: kept once a step, read by TensorBoard, and a full disk said plainly."""

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from training.fitting.run_log import RunLog


def opened(folder: Path, first: int = 0, **options) -> RunLog:
    console = Console(quiet=True)
    return RunLog(folder, "part", num_steps=9, first=first, console=console, **options)


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "part.log.jsonl").read_text().splitlines()]


def test_figures_are_kept_whether_shown_or_not(tmp_path) -> None:
    with opened(tmp_path) as log:
        log.write(0, {"loss": 2.0}, unshown={"learning_rate": 1e-5})
    (line,) = lines(tmp_path)
    assert line.pop("seconds") >= 0
    assert line == {"step": 0, "loss": 2.0, "learning_rate": 1e-5}


def test_tensorboard_reads_each_figure_of_each_step(tmp_path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    with opened(tmp_path) as log:
        for step in range(3):
            log.write(step, {"loss": step / 2, "waiting": 0.1}, unshown={"learning_rate": 0.5})
        log.write(3, {"loss": math.inf})
    with opened(tmp_path, first=2) as log:
        log.write(2, {"loss": 7.0})
    events = EventAccumulator(str(tmp_path / "tensorboard" / "part"))
    events.Reload()
    assert set(events.Tags()["scalars"]) == {"loss", "waiting", "learning_rate", "seconds"}
    points = [(each.step, each.value) for each in events.Scalars("loss")]
    assert points == [(0, 0.0), (1, 0.5), (2, 7.0)]


def test_lines_of_steps_that_come_again_are_dropped_and_so_is_a_half_line(tmp_path) -> None:
    with opened(tmp_path) as log:
        for step in range(5):
            log.write(step, {"loss": 1.0})
    with (tmp_path / "part.log.jsonl").open("a") as file:
        file.write('{"step": 1, "lo')
    with opened(tmp_path, first=3) as log:
        log.write(3, {"loss": 2.0})
    assert [(line["step"], line["loss"]) for line in lines(tmp_path)] == [
        (0, 1.0),
        (1, 1.0),
        (2, 1.0),
        (3, 2.0),
    ]


def test_a_silent_log_leaves_nothing(tmp_path) -> None:
    with opened(tmp_path, is_silent=True) as log:
        log.write(0, {"loss": 1.0})
        log.flush()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("most_bytes", [150, 4_000])
def test_a_log_that_may_not_grow_says_so_in_a_sentence(tmp_path, most_bytes) -> None:
    """The kernel's own refusal of the log and of TensorBoard's events, in a process of its own."""
    code = (
        "import resource, signal, sys\n"
        "from pathlib import Path\n"
        "from rich.console import Console\n"
        "from training.fitting.run_log import RunLog\n"
        "from training.fitting.run_state import RunNotSaved\n"
        "import torch.utils.tensorboard\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)\n"
        "console = Console(quiet=True)\n"
        "log = RunLog(Path(sys.argv[1]), 'part', num_steps=9999, first=0, console=console)\n"
        "try:\n"
        "    with log:\n"
        "        for step in range(9999):\n"
        "            log.write(step, {'loss': 1.0})\n"
        "            log.flush()\n"
        "except RunNotSaved as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), str(most_bytes)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert "the log of part could not be written" in done.stdout
    assert "free some disk space and run again" in done.stdout
