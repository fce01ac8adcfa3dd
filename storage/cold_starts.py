"""What is borrowed for new users, as it was last learned: one for each model version."""

from dataclasses import dataclass
from datetime import UTC, datetime

from storage.database import Database
from storage.tables import ColdStartRow


@dataclass(frozen=True, slots=True)
class StoredColdStart:
    """Numbers that name nobody.

    Attributes:
        model_version: that they were learned for.
        num_users: learned from.
        num_pairs: theirs.
        data: as their owner wrote them.
        created_at: when, UTC; None before it is stored.
    """

    model_version: str
    num_users: int
    num_pairs: int
    data: bytes
    created_at: datetime | None = None


class ColdStartStore:
    """The newest of each model version.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def put(self, stored: StoredColdStart) -> None:
        """Store in place of what was there."""
        with self.database.writing() as session:
            session.merge(
                ColdStartRow(
                    model_version=stored.model_version,
                    num_users=stored.num_users,
                    num_pairs=stored.num_pairs,
                    data=stored.data,
                    created_at=datetime.now(UTC),
                )
            )

    def get(self, model_version: str) -> StoredColdStart | None:
        """What was last learned for a model version, if anything."""
        with self.database.session() as session:
            row = session.get(ColdStartRow, model_version)
        if row is None:
            return None
        return StoredColdStart(
            row.model_version, row.num_users, row.num_pairs, row.data, row.created_at
        )

    def remove(self, model_version: str) -> bool:
        """Forget it; False if there was nothing."""
        with self.database.writing() as session:
            row = session.get(ColdStartRow, model_version)
            if row is not None:
                session.delete(row)
        return row is not None
