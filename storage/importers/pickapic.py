"""Pick-a-Pic: Parquet files of two images each, which of them a person picked, and the images."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from storage.histories import HistoryStore
from storage.importers._drafts import (
    Draft,
    Record,
    drafted,
    moment_of,
    moment_of_row,
    text_of,
    user_id_of,
)
from storage.importers._image_folder import remembering
from storage.importers._parquet_rows import check_parquet, parquet_records
from storage.importers._writer import ChoiceWriter
from storage.importers.origin import Origin, folder_name
from storage.importers.report import ImportReport, Refusal, RowProgress, Skipped, no_progress
from storage.records import InspectImage

COLUMNS = (
    "ranking_id",
    "user_id",
    "caption",
    "created_at",
    "has_label",
    "label_0",
    "label_1",
    "jpg_0",
    "jpg_1",
)


def import_pickapic(
    files: Sequence[Path],
    store: HistoryStore,
    *,
    origin: Origin | None = None,
    inspect: InspectImage,
    progress: RowProgress = no_progress,
    shareable: bool = False,
) -> ImportReport:
    """Store each decided row as a choice of the person who ranked it.

    The user id is the data set's number in decimal; ranking_id names the act, so a ranking that
    stands in two files is stored once. Ties, rows without a label and rows without an image are
    left out. Memory does not grow with the files. Run again, it stores what is not stored yet.

    Args:
        files: Parquet files, read in this order, none twice.
        store: where choices go.
        origin: the data set, and whose its choices are; None: named after the first file's folder.
        inspect: checks images; a ValueError leaves the row out.
        progress: called with the rows done after each transaction.
        shareable: mark the images as shareable, those of rows stored before too.

    Raises:
        FileNotFoundError: if a file is not there; nothing is stored.
        InvalidSource: if a file is no Parquet file or lacks a column, then nothing is stored; if
            it turns out damaged further on, then all rows before the damage are.
        StorageFull: if there is no room left; all transactions before stand.
    """
    count_rows(files)  # each file is opened before anything is stored
    origin = origin or Origin(folder_name(files[0].resolve().parent))
    writer = ChoiceWriter(
        store,
        origin,
        kind="pickapic",
        inspect=remembering(inspect),
        progress=progress,
        shareable=shareable,
    )
    return writer.write(_drafts(files))


def count_rows(files: Sequence[Path]) -> int:
    """Count the rows of all files, from their footers.

    Raises:
        FileNotFoundError, InvalidSource: as `import_pickapic`.
    """
    return sum(check_parquet(path, COLUMNS) for path in files)


def _drafts(files: Sequence[Path]) -> Iterator[Draft | Skipped]:
    for path in files:
        yield from drafted(parquet_records(path, COLUMNS), _draft)


def _draft(record: Record) -> Draft:
    winner = _winner(record)
    user_id, ranking_id = record.read("user_id"), record.read("ranking_id")
    if user_id is None or ranking_id is None:
        raise Refusal("user_id or ranking_id is missing")
    moment = moment_of(record.read("created_at"), "created_at")
    return Draft(
        where=record.where,
        user_id=user_id_of(user_id),
        liked=_image(record, f"jpg_{winner}"),
        passed_over=(_image(record, f"jpg_{1 - winner}"),),
        prompt=text_of(record.read("caption"), "caption"),
        chosen_at=moment or moment_of_row(record.number),
        request_id=f"pickapic:{ranking_id}",
    )


def _winner(record: Record) -> int:
    """Which image was picked, 0 or 1."""
    labels = (record.read("label_0"), record.read("label_1"))
    if not record.read("has_label") or any(label is None or label != label for label in labels):
        raise Refusal("the row has no label")
    if labels[0] == labels[1]:
        raise Refusal("the labels are a tie")
    if labels not in ((1, 0), (0, 1)):
        raise Refusal("the labels are neither a pick nor a tie", f"got {labels[0]} and {labels[1]}")
    return 0 if labels[0] == 1 else 1


def _image(record: Record, column: str) -> bytes:
    data = record.read(column)
    if not isinstance(data, bytes) or not data:
        raise Refusal("an image is missing", f"{column} is empty")
    return data
