"""Removing a user or an image from the files of an export of clusters, however large they are."""

import csv
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from recsys.spreadsheet import plain_text
from storage.files import lock_folder, replace_file

_ROWS_AT_ONCE = 10_000
_TYPICAL = "typical_members"
_IMAGES = ("liked_images", "disliked_images")
_LISTS = (_TYPICAL, *_IMAGES)

Row = dict[str, Any]

_NO_EXPORT = (KeyError, TypeError, ValueError, csv.Error)


@runtime_checkable
class _Format(Protocol):
    def cell(self, user_id: str) -> str:
        """An id as it stands in a cell."""

    def read(self, path: Path) -> Iterator[list[Row]]:
        """Rows, page by page, lists as lists."""

    def write(self, path: Path, like: Path, pages: Iterator[list[Row]]) -> None:
        """Write rows with the columns of another file."""


def remove_user(folder: Path, user_id: str, *, format: str) -> bool:
    """Remove a user from members.* and clusters.*; each file is replaced whole.

    The folder is locked from reading to replacing, so that nobody who is removed at the same time
    comes back; where the user is not, nothing is locked or written. A cluster's size becomes the
    number of its members that are left, its medoid the first of its typical members. What was
    stopped between the two files is gone on with by the next call.

    Args:
        folder: of an export.
        user_id: who.
        format: "parquet" or "csv".

    Returns:
        Whether they were there.

    Raises:
        OSError: if the files are not there, or cannot be read, locked or written.
        ValueError: if they are no export; ImportError if Parquet needs what is not installed.
    """
    form = _format(format)
    members, clusters = folder / f"members.{format}", folder / f"clusters.{format}"
    with _as_export(folder):
        if not (_is_member(form, members, user_id) or _is_typical(form, clusters, user_id)):
            return False
        with lock_folder(folder):
            return _remove_user(form, members, clusters, user_id)


def remove_image(folder: Path, sha256: str, *, format: str) -> bool:
    """Remove an image from the lists of clusters.*, which is replaced whole.

    The folder is locked as by `remove_user`.

    Args:
        folder: of an export.
        sha256: of the image.
        format: "parquet" or "csv".

    Returns:
        Whether it was there.

    Raises:
        OSError, ValueError, ImportError: as `remove_user`.
    """
    form = _format(format)
    path = folder / f"clusters.{format}"
    with _as_export(folder):
        if not _lists_image(form, path, sha256):
            return False
        with lock_folder(folder):
            return _remove_image(form, path, sha256)


def _format(format: str) -> _Format:
    return _Parquet() if format == "parquet" else _Csv()


@contextmanager
def _as_export(folder: Path) -> Iterator[None]:
    try:
        yield
    except _NO_EXPORT as error:
        raise ValueError(f"{folder} holds no export of clusters: {error!r}") from error


def _is_member(form: _Format, members: Path, user_id: str) -> bool:
    cell = form.cell(user_id)
    return any(row["user_id"] == cell for page in form.read(members) for row in page)


def _is_typical(form: _Format, clusters: Path, user_id: str) -> bool:
    return any(user_id in row[_TYPICAL] for row in _read_clusters(form, clusters))


def _lists_image(form: _Format, clusters: Path, sha256: str) -> bool:
    rows = _read_clusters(form, clusters)
    return any(sha256 in row[column] for row in rows for column in _IMAGES)


def _remove_user(form: _Format, members: Path, clusters: Path, user_id: str) -> bool:
    sizes, is_member = _count_members(form, members, user_id)
    if is_member:
        _replace(form, members, _without(form, members, user_id))
    old = _read_clusters(form, clusters)
    is_named = any(user_id in row[_TYPICAL] for row in old)
    if is_member or is_named:
        new = [_cluster_without(form, row, user_id, sizes) for row in old]
        _replace(form, clusters, iter([new]))
    return is_member or is_named


def _remove_image(form: _Format, clusters: Path, sha256: str) -> bool:
    old = _read_clusters(form, clusters)
    new = [_without_image(row, sha256) for row in old]
    if new != old:
        _replace(form, clusters, iter([new]))
    return new != old


def _read_clusters(form: _Format, path: Path) -> list[Row]:
    return [row for page in form.read(path) for row in page]


def _without_image(row: Row, sha256: str) -> Row:
    return row | {column: [each for each in row[column] if each != sha256] for column in _IMAGES}


def _count_members(form: _Format, path: Path, user_id: str) -> tuple[Mapping[Any, int], bool]:
    """How many members each cluster has without a user, and whether the user is one."""
    sizes: Counter[Any] = Counter()
    is_member = False
    for page in form.read(path):
        for row in page:
            if row["user_id"] == form.cell(user_id):
                is_member = True
            else:
                sizes[row["cluster_id"]] += 1
    return sizes, is_member


def _without(form: _Format, path: Path, user_id: str) -> Iterator[list[Row]]:
    for page in form.read(path):
        yield [row for row in page if row["user_id"] != form.cell(user_id)]


def _cluster_without(form: _Format, row: Row, user_id: str, sizes: Mapping[Any, int]) -> Row:
    typical = [each for each in row[_TYPICAL] if each != user_id]
    medoid = row["medoid"]
    if medoid == form.cell(user_id):
        medoid = form.cell(typical[0]) if typical else None
    left = {"size": sizes.get(row["cluster_id"], 0), "medoid": medoid, _TYPICAL: typical}
    return row | left


def _replace(form: _Format, path: Path, pages: Iterator[list[Row]]) -> None:
    with replace_file(path) as temporary:
        form.write(temporary, path, pages)


class _Csv:
    """Cells are kept as they are, but for lists, which are JSON."""

    def cell(self, user_id: str) -> str:
        return plain_text(user_id)

    def read(self, path: Path) -> Iterator[list[Row]]:
        with path.open(encoding="utf-8", newline="") as file:
            rows = csv.DictReader(file)
            while page := list(islice(rows, _ROWS_AT_ONCE)):
                yield [self._with_lists(row) for row in page]

    def write(self, path: Path, like: Path, pages: Iterator[list[Row]]) -> None:
        with like.open(encoding="utf-8", newline="") as file:
            columns = next(csv.reader(file))
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            for page in pages:
                writer.writerows([self._with_text(row) for row in page])

    def _with_lists(self, row: Row) -> Row:
        return row | {column: json.loads(row[column]) for column in _LISTS if column in row}

    def _with_text(self, row: Row) -> Row:
        lists = [column for column in _LISTS if column in row]
        return row | {column: json.dumps(row[column], ensure_ascii=False) for column in lists}


class _Parquet:
    """Rows by their schema, which stays what it was."""

    def cell(self, user_id: str) -> str:
        return user_id

    def read(self, path: Path) -> Iterator[list[Row]]:
        from pyarrow import parquet

        with parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS_AT_ONCE):
                yield batch.to_pylist()

    def write(self, path: Path, like: Path, pages: Iterator[list[Row]]) -> None:
        import pyarrow as pa
        from pyarrow import parquet

        schema = parquet.read_schema(like)
        with parquet.ParquetWriter(path, schema) as writer:
            for page in pages:
                writer.write_table(pa.Table.from_pylist(page, schema=schema))
