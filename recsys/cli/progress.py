"""Progress on standard error: a spinner, a bar, or the rate of work that takes hours."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import click

from recsys.cli.output import console

LINE_EVERY_S = 20.0
"""How often long work prints a line where standard error is no terminal, seconds."""


@contextmanager
def pacing(what: str, count: Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Show on standard error how many are done, the rate and the time left.

    A bar on a terminal, else a line now and then.

    Args:
        what: is counted, e.g. "Users".
        count: returns how many there will be.

    Yields:
        A function to call with how many are done so far.
    """
    from rich import progress as bars

    screen = console(stderr=True)
    total, began = count(), time.monotonic()
    if not screen.is_terminal:
        yield _lines(what, total, began)
        return
    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TextColumn("{task.fields[rate]}"),
        bars.TimeElapsedColumn(),
        bars.TextColumn("left"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(
        *columns, console=screen, transient=True, speed_estimate_period=60
    ) as progress:
        task = progress.add_task(what, total=total, rate="")
        yield lambda done: progress.update(
            task, completed=done, total=max(total, done), rate=_rate(what, done, began)
        )


@contextmanager
def counting(what: str, total: Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error, if that is a terminal.

    Args:
        what: is counted.
        total: returns how many there will be; called only if a bar is shown.

    Yields:
        A function to call with how many are done so far.
    """
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield lambda _: None
        return
    from rich import progress as bars

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.MofNCompleteColumn(),
        bars.TimeElapsedColumn(),
        bars.TextColumn("left"),
        bars.TimeRemainingColumn(),
    )
    with bars.Progress(*columns, console=screen, transient=True) as progress:
        task = progress.add_task(what, total=total())
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show a spinner and what is being waited for on standard error, if that is a terminal."""
    screen = console(stderr=True)
    if not screen.is_terminal:
        yield
        return
    with screen.status(what):
        yield


def _lines(what: str, total: int, began: float) -> Callable[[int], None]:
    printed_at = began

    def progress(done: int) -> None:
        nonlocal printed_at
        now = time.monotonic()
        if now - printed_at < LINE_EVERY_S:
            return
        printed_at = now
        left = max(0, total - done) * (now - began) / done
        rate = _rate(what, done, began)
        click.echo(
            f"{done:,} of {total:,} {what.lower()}, {rate}, {left / 60:.0f} min left", err=True
        )

    return progress


def _rate(what: str, done: int, began: float) -> str:
    return f"{done / max(time.monotonic() - began, 1e-9):.1f} {what.lower()}/s"
