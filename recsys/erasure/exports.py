"""An erasure's way to exports of clusters: the files that this machine reaches are rewritten."""

from pathlib import Path

from recsys.clusters.rewriting import remove_user
from recsys.erasure.before import Before
from storage.clusters.exports import ClusterExportStore
from storage.database import Database


def rewrite_exports(
    database: Database, user_id: str, before: Before | None
) -> tuple[list[str], list[str]]:
    """Remove a user, who is erased by now, from all exports that may hold them.

    Args:
        database: knows where exports are.
        user_id: who.
        before: as they were stored; None: unknown, so that all exports are looked into.

    Returns:
        The folders whose files held the user and were rewritten; and for each folder that could
        not be looked into or written, a text that names it.

    Raises:
        StorageError: if storage does not answer.
    """
    rewritten, unreached = [], []
    for export in ClusterExportStore(database).all():
        # Whoever is in no cluster now may have been in one then: consent can be withdrawn.
        if before is not None and export.exported_at < before.created_at:
            continue
        try:
            if remove_user(Path(export.folder), user_id, format=export.format):
                rewritten.append(export.folder)
        except (OSError, ValueError, ImportError) as error:
            unreached.append(
                f"perhaps the export of clusters to {export.folder} of"
                f" {export.exported_at:%Y-%m-%d}, which was not reached: {error}"
            )
    return rewritten, unreached
