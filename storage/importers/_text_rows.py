"""CSV and JSON Lines -> records, line by line: a bad line is left out, alone."""

import csv
import json
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from storage.errors import InvalidSource
from storage.importers._drafts import Record
from storage.importers.report import Skipped

MAX_LINE_BYTES = 2**20
_MAX_RECORD = 2 * 2**20  # characters
MALFORMED = "the line is malformed"


def csv_records(path: Path, columns: Sequence[str]) -> Iterator[Record | Skipped]:
    """Read a CSV file: comma, double quotes, UTF-8, names in the first line.

    A quote that is never closed would swallow the lines behind it; so when a record of several
    lines turns out malformed, only its first line is left out and reading resumes at the second.

    Args:
        path: the file.
        columns: those that must be there.

    Raises:
        InvalidSource: if a column is missing.
    """
    with path.open("rb") as file:
        lines = _Lines(file)
        reader = csv.reader(lines, strict=True)
        header = _header(reader, path, columns)
        while True:
            lines.begin_record()
            try:
                cells = next(reader, None)
                if cells is None:
                    return
                problem = _count_problem(cells, header)
            except (csv.Error, _BadLine) as error:
                problem = str(error)
            number = lines.taken[0].number
            where = f"{path.name} line {number}"
            if problem:
                lines.hand_out_again()
                yield Skipped(where, MALFORMED, problem)
            elif cells:
                yield Record(where, number, dict(zip(header, cells, strict=True)).get)


def json_records(path: Path) -> Iterator[Record | Skipped]:
    """Read JSON Lines: an object on each line, UTF-8."""
    with path.open("rb") as file:
        lines = _Lines(file)
        while True:
            lines.begin_record()
            fields, problem = None, ""
            try:
                text = next(lines, None)
                if text is None:
                    return
                if not text.strip():
                    continue
                fields = json.loads(text)
            except (ValueError, RecursionError) as error:
                problem = str(error)
            number = lines.taken[0].number
            where = f"{path.name} line {number}"
            if isinstance(fields, dict):
                yield Record(where, number, fields.get)
            else:
                yield Skipped(where, MALFORMED, problem or "not an object")


def count_lines(path: Path) -> int:
    """Count a file's lines, the last one also when nothing ends it."""
    num_lines, last = 0, b"\n"
    with path.open("rb") as file:
        while part := file.read(MAX_LINE_BYTES):
            num_lines += part.count(b"\n")
            last = part[-1:]
    return num_lines + (last != b"\n")


class _BadLine(ValueError):
    """A line that is not text."""


@dataclass(frozen=True, slots=True)
class _Line:
    number: int
    text: str
    problem: str = ""


class _Lines:
    """A file's lines, numbered; those taken since the last record can be handed out again."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 0
        self._again: deque[_Line] = deque()
        self._num_taken = 0  # characters
        self.taken: list[_Line] = []

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else self._read()
        self.taken.append(line)
        self._num_taken += len(line.text)
        if line.problem:
            raise _BadLine(line.problem)
        if self._num_taken > _MAX_RECORD:
            raise _BadLine(f"with the lines behind it longer than {_MAX_RECORD:,} characters")
        return line.text

    def begin_record(self) -> None:
        """Forget the lines taken."""
        self.taken.clear()
        self._num_taken = 0

    def hand_out_again(self) -> None:
        """Go back to the second of the lines taken."""
        self._again.extendleft(reversed(self.taken[1:]))

    def _read(self) -> _Line:
        data = self._file.readline(MAX_LINE_BYTES)
        if not data:
            raise StopIteration
        self._number += 1
        if len(data) == MAX_LINE_BYTES and not data.endswith(b"\n"):
            while data and not data.endswith(b"\n"):
                data = self._file.readline(MAX_LINE_BYTES)
            return _Line(self._number, "", f"longer than {MAX_LINE_BYTES:,} bytes")
        try:
            text = data.decode("utf-8-sig" if self._number == 1 else "utf-8")
        except UnicodeDecodeError:
            return _Line(self._number, "", "not UTF-8")
        return _Line(self._number, text)


def _header(reader: "Iterator[list[str]]", path: Path, columns: Sequence[str]) -> list[str]:
    try:
        header = next(reader, [])
    except (csv.Error, _BadLine) as error:
        raise InvalidSource(f"{path} must begin with the names of its columns: {error}") from error
    require_columns(path, header, columns)
    return header


def require_columns(path: Path, header: Sequence[str], columns: Sequence[str]) -> None:
    """Pass only when all columns are there, and none twice: nobody could tell which one counts.

    Raises:
        InvalidSource: with those that are missing, or the one that stands twice.
    """
    missing = [column for column in columns if column not in header]
    if missing:
        arrived = ", ".join(header)[:200] or "none"
        noun = "column" if len(missing) == 1 else "columns"
        raise InvalidSource(
            f"{path} must have the {noun} {' and '.join(missing)}, got {arrived}:"
            " add or rename columns"
        )
    twice = [column for column, number in Counter(header).items() if column and number > 1]
    if twice:
        raise InvalidSource(
            f"{path} must name each column once, got {twice[0][:80]} twice: remove or rename one"
        )


def _count_problem(cells: list[str], header: list[str]) -> str:
    if not cells or len(cells) == len(header):
        return ""
    return f"{len(cells)} fields, must be {len(header)}"
