"""The way to image tokens on disk: those of images that are not stored any more are removed."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from recsys.image_tokens.folder import TokenFolder
from storage.database import Database
from storage.images import stored_among


def remove_kept_tokens(database: Database, folder: str | None) -> Iterator[str]:
    """Remove tokens of all images that are not stored; yield what could not be done.

    All are looked at, and not just those of one erasure, which may have been stopped half way.

    Args:
        database: tells which images are stored.
        folder: that keeps image tokens; None: none does.

    Raises:
        StorageError: if storage does not answer.
    """
    if folder is None:
        return
    try:
        TokenFolder(Path(folder)).forget_gone(partial(stored_among, database))
    except OSError as error:
        yield f"perhaps image tokens in {folder}: {error}"
