"""The log of a run: a progress bar, a line of JSON for each step, TensorBoard events."""

import contextlib
import json
import math
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

from storage.files import replace_file
from training.fitting.run_state import RunNotSaved

LINE_EVERY_S = 20.0
"""How often a run without a terminal prints a line."""


class RunLog:
    """A context that logs each step's figures.

    Args:
        folder: receives `<name>.log.jsonl` and `tensorboard/<name>/`.
        name: of this part of a run.
        num_steps: of the whole part.
        first: steps done before; lines of later ones are dropped, for those steps are repeated.
        console: where progress is shown.
        is_silent: write nothing (in a process that is not the main one).
    """

    def __init__(
        self,
        folder: Path,
        name: str,
        *,
        num_steps: int,
        first: int,
        console: Console,
        is_silent: bool = False,
    ) -> None:
        self._name = name
        self._num_steps = num_steps
        self._console = console
        self._open = ExitStack()
        self._file: TextIO | None = None
        self._events: Any = None
        self._printed_at = self._stepped_at = time.monotonic()
        if is_silent:
            return
        path = folder / f"{name}.log.jsonl"
        with self._saving():
            _cut(path, first)
            self._file = self._open.enter_context(path.open("a"))
            self._events = _events(folder / "tensorboard" / name, first)
        if self._events is not None:
            self._open.callback(self._events.close)
        self._progress = self._open.enter_context(_progress(console))
        self._bar = self._progress.add_task(name, total=num_steps, completed=first, figures="")

    def __enter__(self) -> "RunLog":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self._open.close()
        except OSError as full:
            if error is None:  # else the first error is the one to report
                raise _not_saved(self._name, full) from full

    def write(
        self, step: int, figures: Mapping[str, float], *, unshown: Mapping[str, float] | None = None
    ) -> None:
        """Log the figures of a completed step, and its duration in seconds; null where not finite.

        Args:
            step: counted from 0.
            figures: to be shown and written.
            unshown: to be written only.

        Raises:
            RunNotSaved: if the disk is full.
        """
        now = time.monotonic()
        seconds, self._stepped_at = now - self._stepped_at, now
        if self._file is None:
            return
        kept = {**figures, **(unshown or {}), "seconds": round(seconds, 4)}
        with self._saving():
            line = {name: value if math.isfinite(value) else None for name, value in kept.items()}
            self._file.write(json.dumps({"step": step, **line}, allow_nan=False) + "\n")
            if self._events is not None:
                for name, value in kept.items():
                    if math.isfinite(value):
                        self._events.add_scalar(name, value, step)
        shown = " ".join(f"{name} {value:.3f}" for name, value in figures.items())
        self._progress.update(self._bar, completed=step + 1, figures=shown)
        if not self._console.is_terminal and now - self._printed_at > LINE_EVERY_S:
            self._console.print(f"{self._name} {step + 1}/{self._num_steps} {shown}")
            self.flush()
            self._printed_at = now

    def flush(self) -> None:
        """Flush the files, so that others can read them.

        Raises:
            RunNotSaved: if the disk is full.
        """
        with self._saving():
            if self._file is not None:
                self._file.flush()
            if self._events is not None:
                self._events.flush()

    @contextlib.contextmanager
    def _saving(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _not_saved(self._name, error) from error


def _not_saved(name: str, error: OSError) -> RunNotSaved:
    return RunNotSaved(
        f"the log of {name} could not be written ({error}): free some disk space and run "
        "again, the last saved state is kept"
    )


def _events(folder: Path, first: int) -> Any:
    """TensorBoard's writer; None where it is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder), purge_step=first)


def _progress(console: Console) -> Progress:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[figures]}"),
    )
    return Progress(*columns, console=console, speed_estimate_period=60)


def _cut(path: Path, first: int) -> None:
    """Drop lines of steps that will be repeated."""
    if path.exists():
        kept = []
        for line in path.read_text().splitlines():
            with contextlib.suppress(ValueError):  # the last line of a killed run may be incomplete
                if json.loads(line)["step"] < first:
                    kept.append(line + "\n")
        with replace_file(path, is_only_writer=True) as temporary:
            temporary.write_text("".join(kept))
