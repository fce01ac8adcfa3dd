"""What people like and dislike, by their mean ratings, among images that can be used."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from storage.importers._image_folder import (
    IMAGE_BLOCKED,
    ImageFolder,
    check_image,
    read_image_file,
)
from storage.importers._rating_table import RatedItem, RatingTable
from storage.importers.report import Refusal, Skipped
from storage.records import InspectImage

_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")


class RatedImages:
    """Reads what people like and dislike out of a table of ratings; each image is looked at once.

    Args:
        images: the folder of images, each named by its id and a suffix.
        table: items and ratings, complete.
        liked_min: from this mean rating up an image is liked.
        disliked_max: up to this mean rating an image is disliked; below `liked_min`.
        inspect: checks images.
        blocked_among: tells which of some images were taken down, by SHA-256.
    """

    def __init__(
        self,
        images: Path,
        table: RatingTable,
        *,
        liked_min: float,
        disliked_max: float,
        inspect: InspectImage,
        blocked_among: Callable[[Sequence[str]], Collection[str]],
    ) -> None:
        self._folder = ImageFolder(images)
        self._table = table
        self._liked_min = liked_min
        self._disliked_max = disliked_max
        self._inspect = inspect
        self._blocked_among = blocked_among

    def of(self, user_id: str) -> tuple[list[RatedItem], list[RatedItem], list[Skipped]]:
        """One person's liked and disliked items, each with a path, and what is left out.

        Blocked images are among both: their ratings are left out, yet what is paired is the same
        as before the block, so that a choice that was stored then is known again.
        """
        liked: list[RatedItem] = []
        disliked: list[RatedItem] = []
        skipped: list[Skipped] = []
        for item in self._table.rated_items(user_id):
            where = f"user {user_id!r} image {item.image_id!r}"
            try:
                side = self._side(item, liked, disliked)
                found = self._found(item)
            except Refusal as refusal:
                skipped.append(Skipped(where, refusal.reason, refusal.detail, item.num_rows))
                continue
            side.append(found)
            if found.is_blocked:
                skipped.append(Skipped(where, IMAGE_BLOCKED, num_rows=item.num_rows))
        return liked, disliked, skipped

    def _side(
        self, item: RatedItem, liked: list[RatedItem], disliked: list[RatedItem]
    ) -> list[RatedItem]:
        if item.rating >= self._liked_min:
            return liked
        if item.rating <= self._disliked_max:
            return disliked
        raise Refusal("neither liked nor disliked", f"rated {item.rating:g}")

    def _found(self, item: RatedItem) -> RatedItem:
        """Look at an image before it is paired, so that a bad one costs no good one its choice."""
        if item.path is not None:
            return item
        if item.reason is not None:
            raise Refusal(item.reason, item.detail or "")
        try:
            path = self._folder.find_any(item.image_id, _SUFFIXES)
            facts = check_image(read_image_file(path), self._inspect, name=path.name)
        except Refusal as refusal:
            self._table.set_refusal(item.image_id, refusal)
            raise
        is_blocked = bool(self._blocked_among([facts.sha256]))
        self._table.set_path(item.image_id, path, is_blocked=is_blocked)
        return replace(item, path=str(path), is_blocked=is_blocked)
