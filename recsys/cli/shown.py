"""What commands show: tables for people, JSON for programs, progress on standard error."""

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from rich.console import Console

_WIDTH_OF_A_PIPE = 200
"""Characters: a line of a table that a program reads must not be broken at 80."""


def show_json(value: Any) -> None:
    """Print a value for programs; plain ASCII, so that any file name and locale will do."""
    click.echo(json.dumps(value, indent=2))


def show_table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under headings; numbers to the right."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, column in enumerate(columns):
        is_number = any(isinstance(row[index], int | float) for row in rows)
        table.add_column(column, justify="right" if is_number else "left", overflow="fold")
    for row in rows:
        table.add_row(*(Text(printable(cell)) for cell in row))
    _console().print(table)


def printable(value: object) -> str:
    """Return text that cannot steer a terminal: control characters become escapes."""
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


@contextmanager
def counting(what: str, total: Callable[[], int]) -> Iterator[Callable[[int], None]]:
    """Show a progress bar on standard error, if a person looks on.

    Args:
        what: is counted.
        total: tells how many there will be; asked only if a person looks on.

    Yields:
        What to call with how many are done so far.
    """
    console = _console(stderr=True)
    if not console.is_terminal:
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
    with bars.Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task(what, total=total())
        yield lambda done: progress.update(task, completed=done)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on standard error what is being waited for, if a person looks on."""
    console = _console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def _console(*, stderr: bool = False) -> "Console":
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _WIDTH_OF_A_PIPE,
        highlight=False,
        soft_wrap=False,
    )
