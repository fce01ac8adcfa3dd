"""The way to exports of clusters: the files that this machine reaches are rewritten."""

from collections.abc import Callable, Iterable
from datetime import datetime
from functools import partial
from pathlib import Path

from recsys.clusters.rewriting import remove_image, remove_user
from storage.clusters.exports import ClusterExport, ClusterExportStore
from storage.database import Database

Rewritten = tuple[list[str], list[str]]
"""Folders that were rewritten; and for each that could not be looked into, a text that names it."""


def rewrite_exports(database: Database, user_id: str, *, since: datetime | None) -> Rewritten:
    """Remove a user, who is in no cluster any more, from all exports that may hold them.

    Args:
        database: knows where exports are.
        user_id: who.
        since: when they were first stored, UTC; None: unknown, so that all are looked into.

    Raises:
        StorageError: if storage does not answer.
    """
    exports = ClusterExportStore(database).all()
    if since is not None:
        # Whoever is in no cluster now may have been in one then: consent can be withdrawn.
        exports = [each for each in exports if each.exported_at >= since]
    return _rewrite(exports, partial(_remove, remove_user, user_id))


def rewrite_exports_without_image(database: Database, sha256: str) -> Rewritten:
    """Remove an image that is blocked or removed from all exports that name it.

    Args:
        database: knows where exports are.
        sha256: of the image.

    Raises:
        StorageError: if storage does not answer.
    """
    return _rewrite(ClusterExportStore(database).all(), partial(_remove, remove_image, sha256))


def _remove(remove: Callable[..., bool], what: str, export: ClusterExport) -> bool:
    return remove(Path(export.folder), what, format=export.format)


def _rewrite(
    exports: Iterable[ClusterExport], rewrite: Callable[[ClusterExport], bool]
) -> Rewritten:
    rewritten, unreached = [], []
    for export in exports:
        try:
            if rewrite(export):
                rewritten.append(export.folder)
        except (OSError, ValueError, ImportError) as error:
            unreached.append(
                f"perhaps the export of clusters to {export.folder} of"
                f" {export.exported_at:%Y-%m-%d}, which was not reached: {error}"
            )
    return rewritten, unreached
