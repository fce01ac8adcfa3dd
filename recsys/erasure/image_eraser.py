"""The one way to take an image down: for the command, and for the server's ImageService."""

from collections.abc import Callable
from datetime import datetime

from recsys.erasure.exports import rewrite_exports_without_image
from recsys.erasure.kept_tokens import remove_kept_tokens
from storage.records import Takedown
from storage.takedowns import ImageTakedowns


class ImageEraser:
    """Takes images out of storage, and out of the files that were made from it.

    Args:
        takedowns: of the storage.
        image_tokens_folder: that keeps image tokens; None: none does.
    """

    def __init__(
        self, takedowns: ImageTakedowns, *, image_tokens_folder: str | None = None
    ) -> None:
        self._takedowns = takedowns
        self._image_tokens_folder = image_tokens_folder

    def remove(self, sha256: str) -> Takedown:
        """Remove an image; it may be stored again.

        Raises:
            InvalidRecord, UnknownImage: as `ImageTakedowns.remove`.
            StorageError: if storage does not answer.
        """
        taken = self._takedowns.remove(sha256)
        return taken + self._leave_exports(sha256) + self._leave_tokens()

    def block(
        self,
        sha256: str,
        *,
        by: str = "",
        reason: str = "",
        on_recorded: Callable[[], None] = lambda: None,
    ) -> Takedown:
        """Remove an image that may be stored, and accept it nowhere again.

        Args:
            sha256: of the image.
            by: who asks for it, at most 256 characters.
            reason: why, at most 1,000 characters.
            on_recorded: called once nothing reads the image any more, before it is removed.

        Raises:
            InvalidRecord: as `ImageTakedowns.block`.
            StorageError: if storage does not answer.
        """
        self._takedowns.record_block(sha256, by=by, reason=reason)
        on_recorded()
        return self._finish(sha256)

    def finish_interrupted(self, *, until: datetime | None = None) -> dict[str, Takedown]:
        """Do what is left of each block that was interrupted, or that goes on elsewhere.

        Two that take the same image down do no harm: each counts what it removed itself.

        Args:
            until: only of images blocked before it, UTC; None: all.

        Returns:
            What went, by SHA-256.

        Raises:
            StorageError: if storage does not answer.
        """
        unfinished = self._takedowns.unfinished(until=until)
        return {sha256: self._finish(sha256) for sha256 in unfinished}

    def _finish(self, sha256: str) -> Takedown:
        # Files first: as long as the image is stored, anybody can tell that it is unfinished.
        exports = self._leave_exports(sha256)
        self._leave_tokens()
        taken = exports + self._takedowns.take_down(sha256)
        # Once more, for images that stood in removed choices alone; what cannot be removed is told.
        return taken + self._leave_tokens()

    def _leave_exports(self, sha256: str) -> Takedown:
        rewritten, remnants = rewrite_exports_without_image(self._takedowns.database, sha256)
        return Takedown(rewritten_exports=tuple(rewritten), remnants=tuple(remnants))

    def _leave_tokens(self) -> Takedown:
        folder = self._image_tokens_folder
        return Takedown(remnants=tuple(remove_kept_tokens(self._takedowns.database, folder)))
