"""Preference pairs: pairs.csv, pairs.jsonl or pairs.parquet, one choice a row.

Columns: user_id; liked_image and disliked_image, each a path relative to the folder, or bytes in
Parquet, one of the two may be empty; prompt, may be empty; created_at, ISO 8601 or a Parquet
timestamp, UTC where it has no zone.

Rows without created_at keep their order (`moment_of_row`); two of them that are equal otherwise
are one choice, as are two equal rows with the same created_at.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from storage.errors import InvalidSource
from storage.histories import HistoryStore
from storage.importers._drafts import (
    Draft,
    DraftImage,
    Record,
    drafted,
    moment_of,
    moment_of_row,
    text_of,
    user_id_of,
)
from storage.importers._image_folder import ImageFolder, remembering
from storage.importers._parquet_rows import check_parquet, parquet_records
from storage.importers._source_folder import not_there, require_folder
from storage.importers._text_rows import count_lines, csv_records, json_records
from storage.importers._writer import ChoiceWriter
from storage.importers.origin import Origin, folder_name
from storage.importers.report import ImportReport, Refusal, RowProgress, Skipped, no_progress
from storage.records import InspectImage

COLUMNS = ("user_id", "liked_image", "disliked_image", "prompt")
MOMENT = "created_at"
_NAMES = ("pairs.csv", "pairs.jsonl", "pairs.parquet")


def import_pairs(
    directory: Path,
    store: HistoryStore,
    *,
    origin: Origin | None = None,
    inspect: InspectImage,
    progress: RowProgress = no_progress,
    shareable: bool = False,
) -> ImportReport:
    """Store each row of the pairs file of a folder as a choice.

    Memory does not grow with the file. Run again, it stores what is not stored yet.

    Args:
        directory: holds exactly one of pairs.csv, pairs.jsonl and pairs.parquet.
        store: where choices go.
        origin: the data set, and whose its choices are; None: named after the folder.
        inspect: checks images; a ValueError leaves the row out.
        progress: called with the rows done after each transaction.
        shareable: mark the images as shareable, those of rows stored before too.

    Raises:
        FileNotFoundError: if there is no such folder, or no such file in it.
        InvalidSource: if there are several, a column is missing, or the file is damaged.
        StorageFull: if there is no room left; all transactions before stand.
    """
    path = find_pairs(directory)
    folder = ImageFolder(directory)

    def make_draft(record: Record) -> Draft:
        moment = moment_of(record.read(MOMENT), MOMENT)
        liked = _picture(record.read("liked_image"), "liked_image", folder)
        disliked = _picture(record.read("disliked_image"), "disliked_image", folder)
        if liked is None and disliked is None:
            raise Refusal("neither a liked nor a disliked image is named")
        return Draft(
            where=record.where,
            user_id=user_id_of(record.read("user_id")),
            liked=liked,
            passed_over=() if disliked is None else (disliked,),
            prompt=text_of(record.read("prompt"), "prompt"),
            chosen_at=moment or moment_of_row(record.number),
            is_timed=moment is not None,
        )

    origin = origin or Origin(folder_name(directory))
    writer = ChoiceWriter(
        store,
        origin,
        kind="pairs",
        inspect=remembering(inspect),
        progress=progress,
        shareable=shareable,
    )
    return writer.write(drafted(_records(path), make_draft))


def find_pairs(directory: Path) -> Path:
    """Return the pairs file of a folder; reads nothing of it.

    Raises:
        FileNotFoundError, InvalidSource: as `import_pairs`.
    """
    listed = f"{', '.join(_NAMES[:-1])} or {_NAMES[-1]}"
    require_folder(directory, listed)
    files = [directory / name for name in _NAMES if (directory / name).is_file()]
    if not files:
        raise not_there(listed, directory)
    if len(files) > 1:
        names = " and ".join(path.name for path in files)
        raise InvalidSource(
            f"{directory} must hold exactly one of {', '.join(_NAMES)}, got {names}: "
            "move the others elsewhere"
        )
    return files[0]


def count_rows(directory: Path) -> int:
    """Count the rows to come: exact for Parquet, lines for text.

    Raises:
        FileNotFoundError, InvalidSource: as `import_pairs`.
    """
    path = find_pairs(directory)
    if path.suffix == ".parquet":
        return check_parquet(path, COLUMNS)
    return max(0, count_lines(path) - (path.suffix == ".csv"))


def _records(path: Path) -> Iterator[Record | Skipped]:
    readers: dict[str, Callable[[], Iterator[Record | Skipped]]] = {
        ".csv": lambda: csv_records(path, COLUMNS),
        ".jsonl": lambda: json_records(path),
        ".parquet": lambda: parquet_records(path, COLUMNS, (MOMENT,)),
    }
    return readers[path.suffix]()


def _picture(value: Any, column: str, folder: ImageFolder) -> DraftImage | None:
    if isinstance(value, bytes):
        return value or None
    name = text_of(value, column)
    return folder.find(name) if name else None
