"""Ratings grouped by person: a table on disk, for a ratings file is in any order and any size."""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from storage.importers._temporary import temporary_database
from storage.importers.report import Refusal

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_SCHEMA = """
CREATE TABLE items (
    image_id TEXT PRIMARY KEY, prompt_id TEXT NOT NULL, prompt TEXT NOT NULL,
    path TEXT, is_blocked INTEGER NOT NULL DEFAULT 0, reason TEXT, detail TEXT
) WITHOUT ROWID;
CREATE TABLE ratings (
    user_id TEXT, image_id TEXT, total REAL NOT NULL, num_rows INTEGER NOT NULL,
    rated_us INTEGER NOT NULL, PRIMARY KEY (user_id, image_id)
) WITHOUT ROWID;
"""


@dataclass(frozen=True, slots=True)
class RatedItem:
    """What one person thinks of one image.

    Attributes:
        image_id: as items.csv names it.
        prompt_id: images of the same prompt share it.
        prompt: its text.
        rating: mean of this person's ratings of it.
        num_rows: how many they were.
        rated_at: the last of them.
        path: the image file, once found.
        reason: why the image cannot be used, as in `Refusal`; None while nothing is known.
        detail: likewise.
        is_blocked: whether the image was taken down and is blocked, once found.
    """

    image_id: str
    prompt_id: str
    prompt: str
    rating: float
    num_rows: int
    rated_at: datetime
    path: str | None
    reason: str | None
    detail: str | None
    is_blocked: bool = False


class RatingTable:
    """Items and ratings in a temporary file of their own; see `rating_table`."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        connection.row_factory = sqlite3.Row
        connection.executescript(_SCHEMA)

    def add_item(self, image_id: str, *, prompt_id: str, prompt: str) -> None:
        """Name an image.

        Raises:
            Refusal: if it has been named before.
        """
        done = self._connection.execute(
            "INSERT OR IGNORE INTO items (image_id, prompt_id, prompt) VALUES (?, ?, ?)",
            (image_id, prompt_id, prompt),
        )
        if not done.rowcount:
            raise Refusal("the image stands twice in items.csv", repr(image_id))

    def add_rating(self, user_id: str, image_id: str, *, rating: float, rated_at: datetime) -> None:
        """Add a person's rating of an image; further ones of the same image make a mean.

        Raises:
            Refusal: if no item has this image.
        """
        rated_us = (rated_at - _EPOCH) // _MICROSECOND
        done = self._connection.execute(
            "INSERT INTO ratings SELECT ?, image_id, ?, 1, ? FROM items WHERE image_id = ?"
            " ON CONFLICT DO UPDATE SET total = total + excluded.total,"
            " num_rows = num_rows + 1, rated_us = max(rated_us, excluded.rated_us)",
            (user_id, rating, rated_us, image_id),
        )
        if not done.rowcount:
            raise Refusal("the image is not in items.csv", repr(image_id))

    def user_ids(self) -> Iterator[str]:
        """All people, sorted."""
        rows = self._connection.execute("SELECT DISTINCT user_id FROM ratings ORDER BY user_id")
        return (user_id for (user_id,) in rows)

    def rated_items(self, user_id: str) -> list[RatedItem]:
        """What one person rated, sorted by image."""
        rows = self._connection.execute(
            "SELECT image_id, prompt_id, prompt, total / num_rows AS rating, num_rows, rated_us,"
            " path, is_blocked, reason, detail FROM ratings JOIN items USING (image_id)"
            " WHERE user_id = ? ORDER BY image_id",
            (user_id,),
        )
        return [_item(dict(row)) for row in rows]

    def set_path(self, image_id: str, path: Path, *, is_blocked: bool) -> None:
        """Remember where an image is, and whether it is blocked."""
        self._connection.execute(
            "UPDATE items SET path = ?, is_blocked = ? WHERE image_id = ?",
            (str(path), is_blocked, image_id),
        )

    def set_refusal(self, image_id: str, refusal: Refusal) -> None:
        """Remember why an image cannot be used."""
        self._connection.execute(
            "UPDATE items SET reason = ?, detail = ? WHERE image_id = ?",
            (refusal.reason, refusal.detail, image_id),
        )


def _item(row: dict[str, Any]) -> RatedItem:
    rated_at = _EPOCH + row.pop("rated_us") * _MICROSECOND
    is_blocked = bool(row.pop("is_blocked"))
    return RatedItem(rated_at=rated_at, is_blocked=is_blocked, **row)


@contextmanager
def rating_table() -> Iterator[RatingTable]:
    """Make a table that goes when the block ends.

    Raises:
        StorageFull: if the folder for temporary files has no room left.
    """
    with temporary_database() as connection:
        yield RatingTable(connection)
