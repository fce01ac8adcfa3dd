"""Parquet -> records, a few rows at a time: images make rows large."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storage.errors import InvalidSource
from storage.importers._drafts import Record
from storage.importers._text_rows import require_columns
from storage.importers.report import Refusal

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

ROWS_AT_ONCE = 16
_BUFFER_BYTES = 2**20  # read a column piece by piece; Arrow would take a whole row group otherwise


def check_parquet(path: Path, columns: Sequence[str]) -> int:
    """Open a Parquet file and look at its columns alone.

    Returns:
        How many rows it has.

    Raises:
        FileNotFoundError: if there is none.
        InvalidSource: if it is no Parquet file or a column is missing.
    """
    with _opened(path) as file:
        require_columns(path, file.schema_arrow.names, columns)
        return int(file.metadata.num_rows)


def parquet_records(
    path: Path, columns: Sequence[str], optional: Sequence[str] = ()
) -> Iterator[Record]:
    """Read a Parquet file; a cell is brought to Python when it is asked for.

    Args:
        path: the file.
        columns: those that must be there.
        optional: those to read if they are there.

    Raises:
        InvalidSource: as `check_parquet`, and where the file turns out damaged.
    """
    check_parquet(path, columns)
    number = 0
    with _opened(path) as file:
        names = [name for name in file.schema_arrow.names if name in {*columns, *optional}]
        for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=names):
            cells = {name: _plain(batch.column(name)) for name in names}
            for index in range(batch.num_rows):
                number += 1
                yield Record(f"{path.name} row {number}", number, _Cells(cells, index).read)


class _Cells:
    def __init__(self, cells: "dict[str, pa.Array[Any]]", index: int) -> None:
        self._cells = cells
        self._index = index

    def read(self, column: str) -> Any:
        if column not in self._cells:
            return None
        try:
            return self._cells[column][self._index].as_py()
        except (ValueError, OverflowError) as error:  # not UTF-8, a year past 9999
            raise Refusal(f"{column} cannot be read", str(error)) from error


def _plain(column: "pa.Array[Any]") -> "pa.Array[Any]":
    """Drop what keeps an instant from Python: nanoseconds, and zones that are not known here."""
    import pyarrow as pa

    if not pa.types.is_timestamp(column.type):
        return column
    # With a zone, the numbers are UTC already. Only nanoseconds are cut: any other unit could
    # overflow into another instant unseen.
    unit = "us" if column.type.unit == "ns" else column.type.unit
    zone = None if column.type.tz is None else "UTC"
    return column.cast(pa.timestamp(unit, zone), safe=False)


@contextmanager
def _opened(path: Path) -> "Iterator[pq.ParquetFile]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    if not path.exists():
        raise FileNotFoundError(2, "No such file", str(path))
    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
            yield file
    except (pa.ArrowException, OSError) as error:
        why = (str(error).splitlines() or ["no reason given"])[0]
        raise InvalidSource(
            f"{path} must be a whole Parquet file, got a damaged one ({why}): fetch it again; rows "
            "read before the damage are stored"
        ) from error
