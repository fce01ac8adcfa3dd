"""The population that cold start last learned from, one for each model version."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from storage.coldstart.first_questions import from_json, living, to_json
from storage.coldstart.records import Onboarding
from storage.database import Database
from storage.tables import ColdStartRow


@dataclass(frozen=True, slots=True)
class StoredColdStart:
    """A learned population; it identifies no user.

    Attributes:
        model_version: that it was learned for.
        num_users: learned from.
        num_pairs: of those users.
        data: as `recsys.coldstart.population` serialises it.
        onboarding: the pairs to show new users; None: none were chosen.
        created_at: when, UTC; None before it is stored.
    """

    model_version: str
    num_users: int
    num_pairs: int
    data: bytes
    onboarding: Onboarding | None = None
    created_at: datetime | None = None


class ColdStartStore:
    """The newest of each model version.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def put(self, stored: StoredColdStart) -> None:
        """Store in place of the previous one, without pairs whose images were erased meanwhile."""
        with self.database.writing() as session:
            onboarding = stored.onboarding and living(session, stored.onboarding)
            session.merge(
                ColdStartRow(
                    model_version=stored.model_version,
                    num_users=stored.num_users,
                    num_pairs=stored.num_pairs,
                    data=stored.data,
                    onboarding=to_json(onboarding),
                    created_at=datetime.now(UTC),
                )
            )

    def get(self, model_version: str) -> StoredColdStart | None:
        """Return what was last learned for a model version, or None."""
        with self.database.session() as session:
            row = session.get(ColdStartRow, model_version)
            if row is None:
                return None
            onboarding = from_json(row.onboarding)
            return StoredColdStart(
                row.model_version,
                row.num_users,
                row.num_pairs,
                row.data,
                onboarding and living(session, onboarding),
                row.created_at,
            )

    def onboarding(self, model_version: str) -> Onboarding | None:
        """Return the pairs to show a new user whose images are still stored; None if none learned.

        Does not read the population itself.
        """
        query = select(ColdStartRow.onboarding).where(ColdStartRow.model_version == model_version)
        with self.database.session() as session:
            onboarding = from_json(session.scalar(query) or "")
            return onboarding and living(session, onboarding)

    def remove(self, model_version: str) -> bool:
        """Remove it; return False if there was nothing."""
        with self.database.writing() as session:
            row = session.get(ColdStartRow, model_version)
            if row is not None:
                session.delete(row)
        return row is not None
