"""What commands print: tables for people, JSON for programs."""

import json
import sys
from collections.abc import Sequence
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
    console().print(table)


def printable(value: object) -> str:
    """Return text that cannot steer a terminal: control characters become escapes."""
    text = f"{value:.4f}" if isinstance(value, float) else str(value)
    return "".join(each if each.isprintable() else ascii(each)[1:-1] for each in text)


def console(*, stderr: bool = False) -> "Console":
    """Return a console as wide as the terminal, or wide enough for a program that reads it."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(
        file=stream,
        width=None if stream.isatty() else _WIDTH_OF_A_PIPE,
        highlight=False,
        soft_wrap=False,
    )
