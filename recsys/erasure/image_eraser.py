"""The one way to take an image down: for the command, and for the server's ImageService."""

from dataclasses import replace

from recsys.erasure.exports import rewrite_exports_without_image
from storage.records import Takedown
from storage.takedowns import ImageTakedowns


class ImageEraser:
    """Takes images out of storage, and out of the files that were made from it.

    Args:
        takedowns: of the storage.
    """

    def __init__(self, takedowns: ImageTakedowns) -> None:
        self._takedowns = takedowns

    def remove(self, sha256: str) -> Takedown:
        """Remove an image; it may be stored again.

        Raises:
            InvalidRecord, UnknownImage: as `ImageTakedowns.remove`.
            StorageError: if storage does not answer.
        """
        return self._leave_exports(sha256, self._takedowns.remove(sha256))

    def block(self, sha256: str, *, by: str = "", reason: str = "") -> Takedown:
        """Remove an image that may be stored, and accept it nowhere again.

        Args:
            sha256: of the image.
            by: who asks for it, at most 256 characters.
            reason: why, at most 1,000 characters.

        Raises:
            InvalidRecord: as `ImageTakedowns.block`.
            StorageError: if storage does not answer.
        """
        taken = self._takedowns.block(sha256, by=by, reason=reason)
        return self._leave_exports(sha256, taken)

    def _leave_exports(self, sha256: str, taken: Takedown) -> Takedown:
        rewritten, remnants = rewrite_exports_without_image(self._takedowns.database, sha256)
        return replace(taken, rewritten_exports=tuple(rewritten), remnants=tuple(remnants))
