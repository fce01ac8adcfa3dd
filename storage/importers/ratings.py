"""Ratings: items.csv (images and prompts), ratings.csv (who rated what how), images/.

items.csv: image_id, prompt; prompt_id if prompts have names. ratings.csv: user_id, image_id,
rating_1to5; question if there are several, rated_at if it is known. The image is
images/<image_id>.jpg, .jpeg, .png or .webp.

A person's ratings of one image count as their mean. How liked and disliked images become choices:
see `rating_pairing`.
"""

import math
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from functools import partial
from pathlib import Path

from storage.histories import HistoryStore
from storage.importers._drafts import Draft, Record, moment_of, moment_of_row, text_of
from storage.importers._image_folder import remembering
from storage.importers._rated_images import RatedImages
from storage.importers._rating_pairing import pair_at_random, pair_within_prompts
from storage.importers._rating_table import RatingTable, rating_table
from storage.importers._source_folder import not_there, require_folder
from storage.importers._text_rows import count_lines, csv_records
from storage.importers._writer import ChoiceWriter
from storage.importers.origin import Origin, folder_name
from storage.importers.report import ImportReport, Refusal, RowProgress, Skipped, no_progress
from storage.records import InspectImage
from storage.takedowns import ImageTakedowns

_NAMES = ("items.csv", "ratings.csv")
ITEM_COLUMNS = ("image_id", "prompt")
RATING_COLUMNS = ("user_id", "image_id", "rating_1to5")


def import_ratings(
    directory: Path,
    store: HistoryStore,
    *,
    liked_min: float = 4,
    disliked_max: float = 2,
    any_prompt: bool = False,
    question: str | None = "appeal",
    seed: int = 0,
    origin: Origin | None = None,
    inspect: InspectImage,
    progress: RowProgress = no_progress,
    shareable: bool = False,
) -> ImportReport:
    """Make choices of what people liked and disliked, and store them.

    Memory does not grow with the number of people: ratings are grouped in a temporary file. A
    person's choices are stored in the order of their ratings. Run again, with the same arguments,
    it stores what is not stored yet; other arguments make other choices.

    Args:
        directory: holds items.csv, ratings.csv and images/.
        store: where choices go.
        origin: the data set, and whose its choices are; None: named after the folder.
        liked_min: from this mean rating up an image is liked; 1 to 5.
        disliked_max: up to this mean rating an image is disliked; 1 to 5, below `liked_min`.
        any_prompt: pair across prompts, at random, instead of within each prompt.
        question: ratings of other questions are left out; None: all count, whatever the question.
            Without a column `question` all count.
        seed: of `any_prompt`.
        inspect: checks images; a ValueError leaves out the ratings of that image.
        progress: called with the rows done after each transaction.
        shareable: mark the images as shareable, those of rows stored before too.

    Raises:
        ValueError: if `disliked_max` is not below `liked_min`.
        FileNotFoundError: if there is no such folder, or one of the two files is not in it.
        InvalidSource: if it is no folder, or a column is missing; nothing is stored.
        StorageFull: if there is no room left; all transactions before stand.
    """
    if not disliked_max < liked_min:
        raise ValueError(
            f"disliked_max must be below liked_min, got {disliked_max:g} and {liked_min:g}"
        )
    items, ratings = find_ratings(directory)
    pair = partial(pair_at_random, seed=seed) if any_prompt else pair_within_prompts
    check = remembering(inspect)
    origin = origin or Origin(folder_name(directory))
    writer = ChoiceWriter(
        store, origin, kind="ratings", inspect=check, progress=progress, shareable=shareable
    )
    with rating_table() as table:
        rated = RatedImages(
            directory / "images",
            table,
            liked_min=liked_min,
            disliked_max=disliked_max,
            inspect=check,
            blocked_among=ImageTakedowns(store.database, store.blobs).blocked_among,
        )

        def rows() -> Iterator[Draft | Skipped]:
            yield from _read_items(items, table)
            yield from _read_ratings(ratings, table, question)
            for user_id in table.user_ids():
                liked, disliked, skipped = rated.of(user_id)
                yield from skipped
                yield from pair(user_id, liked, disliked)

        return writer.write(rows())


def find_ratings(directory: Path) -> tuple[Path, Path]:
    """Return items.csv and ratings.csv of a folder; reads nothing of them.

    Raises:
        FileNotFoundError, InvalidSource: as `import_ratings`, but for columns.
    """
    require_folder(directory, " and ".join(_NAMES))
    missing = [name for name in _NAMES if not (directory / name).is_file()]
    if missing:
        raise not_there(" and no ".join(missing), directory)
    return directory / _NAMES[0], directory / _NAMES[1]


def count_rows(directory: Path) -> int:
    """Count the ratings to come: the lines of ratings.csv.

    Raises:
        FileNotFoundError, InvalidSource: as `find_ratings`.
    """
    _, ratings = find_ratings(directory)
    return max(0, count_lines(ratings) - 1)


def _read_items(path: Path, table: RatingTable) -> Iterator[Skipped]:
    def add(record: Record) -> None:
        image_id = _named(record, "image_id")
        prompt = text_of(record.read("prompt"), "prompt")
        prompt_id = record.read("prompt_id") or prompt
        table.add_item(image_id, prompt_id=prompt_id, prompt=prompt)

    yield from _unusable(csv_records(path, ITEM_COLUMNS), add)


def _read_ratings(path: Path, table: RatingTable, question: str | None) -> Iterator[Skipped]:
    def add(record: Record) -> None:
        if question is not None and record.read("question") not in (None, question):
            raise Refusal("the rating is of another question", repr(record.read("question")))
        table.add_rating(
            _named(record, "user_id"),
            _named(record, "image_id"),
            rating=_rating(record.read("rating_1to5")),
            rated_at=_rated_at(record),
        )

    yield from _unusable(csv_records(path, RATING_COLUMNS), add)


def _unusable(
    records: Iterator[Record | Skipped], add: Callable[[Record], None]
) -> Iterator[Skipped]:
    """Add all records that can be used; pass on the others."""
    for record in records:
        if isinstance(record, Skipped):
            yield record
            continue
        try:
            add(record)
        except Refusal as refusal:
            skipped = Skipped(record.where, refusal.reason, refusal.detail)
        else:
            continue
        yield skipped


def _named(record: Record, column: str) -> str:
    value = text_of(record.read(column), column)
    if not value:
        raise Refusal(f"{column} is empty")
    return value


def _rating(text: str) -> float:
    try:
        rating = float(text)
    except ValueError:
        rating = math.nan
    if not 1 <= rating <= 5:
        raise Refusal("the rating is no number from 1 to 5", f"got {text!r}")
    return rating


def _rated_at(record: Record) -> datetime:
    text = text_of(record.read("rated_at"), "rated_at")
    # "15:42:06 615170" is how some write microseconds.
    moment = moment_of(re.sub(r"(:\d\d) (\d{6})$", r"\1.\2", text), "rated_at")
    return moment or moment_of_row(record.number)
