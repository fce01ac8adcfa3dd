"""CSV for spreadsheets: text that would be run as a formula there is made plain text.

OWASP, "CSV Injection": a cell that begins with one of `FORMULA_STARTS` is read as a formula, quoted
or not, so that an id or a prompt could read other cells and send them away.
"""

import csv
import json
from collections.abc import Iterable, Sequence
from datetime import datetime
from io import TextIOBase

FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""First characters by which a spreadsheet takes text for a formula; the last four are wide."""

_PLAIN = "'"


def write_csv(file: TextIOBase, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write rows under a header, as CSV (RFC 4180) that is safe to open in a spreadsheet.

    Text that begins like a formula gets an apostrophe before it; numbers stay numbers. Instants are
    ISO 8601, lists are JSON, None is an empty cell.

    Args:
        file: opened with newline="".
        columns: names of the columns.
        rows: with as many values each.
    """
    writer = csv.writer(file)
    writer.writerow(columns)
    writer.writerows([_cell(value) for value in row] for row in rows)


def plain_text(text: str) -> str:
    """Return text as a cell that no spreadsheet runs: an apostrophe goes before a formula."""
    return f"{_PLAIN}{text}" if text.startswith(FORMULA_STARTS) else text


def _cell(value: object) -> object:
    if isinstance(value, str):
        return plain_text(value)
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list) else value
