"""Which images may be kept: those that are stored."""

from collections.abc import Collection

from sqlalchemy import select

from storage.database import Database
from storage.statements import is_blocked, parts
from storage.tables import ImageRow


def stored_among(database: Database, sha256s: Collection[str]) -> set[str]:
    """Those of some images, by SHA-256, that are stored now and not blocked.

    Args:
        database: with a current schema.
        sha256s: in any number.
    """
    query = select(ImageRow.sha256).where(~is_blocked(ImageRow.sha256))
    stored: set[str] = set()
    with database.session() as session:
        for part in parts(sorted(sha256s)):
            stored |= set(session.scalars(query.where(ImageRow.sha256.in_(part))))
    return stored
