"""The population that cold start last learned from, one for each model version."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select

from storage.coldstart.first_questions import from_json, living, shown, to_json
from storage.coldstart.records import FirstQuestions
from storage.database import Database
from storage.records import SharingRules
from storage.statements import lock_blobs
from storage.tables import ColdStartRow


@dataclass(frozen=True, slots=True)
class StoredColdStart:
    """A learned population; it identifies no user.

    Attributes:
        model_version: that it was learned for.
        num_users: learned from.
        num_pairs: of those users.
        data: as `recsys.coldstart.population` serialises it.
        first_questions: to a new user; None: none were chosen.
        created_at: when, UTC; None before it is stored.
    """

    model_version: str
    num_users: int
    num_pairs: int
    data: bytes
    first_questions: FirstQuestions | None = None
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
            lock_blobs(session, exclusive=False)  # an erasure is wholly before this, or after
            questions = stored.first_questions and living(session, stored.first_questions)
            session.merge(
                ColdStartRow(
                    model_version=stored.model_version,
                    num_users=stored.num_users,
                    num_pairs=stored.num_pairs,
                    data=stored.data,
                    first_questions=to_json(questions),
                    created_at=datetime.now(UTC),
                )
            )

    def get(self, model_version: str) -> StoredColdStart | None:
        """Return what was last learned for a model version, or None."""
        with self.database.session() as session:
            row = session.get(ColdStartRow, model_version)
            if row is None:
                return None
            questions = from_json(row.first_questions)
            return StoredColdStart(
                row.model_version,
                row.num_users,
                row.num_pairs,
                row.data,
                questions and living(session, questions),
                row.created_at,
            )

    def fitted_at(self) -> dict[str, datetime]:
        """When each model version's population was learned, UTC; does not read it."""
        query = select(ColdStartRow.model_version, ColdStartRow.created_at)
        with self.database.session() as session:
            return {version: created_at for version, created_at in session.execute(query)}  # noqa: C416

    def first_questions(
        self, model_version: str, rules: SharingRules | None = None
    ) -> FirstQuestions | None:
        """Return the first questions whose images are still stored; None if none were learned.

        Does not read the population itself.

        Args:
            model_version: that they were learned for.
            rules: leave out what other users may not be shown; None for all that is stored.
        """
        query = select(ColdStartRow.first_questions).where(
            ColdStartRow.model_version == model_version
        )
        with self.database.session() as session:
            questions = from_json(session.scalar(query) or "")
            left = questions and living(session, questions)
            return left and shown(session, left, rules) if rules else left

    def remove(self, model_version: str) -> bool:
        """Remove it; return False if there was nothing."""
        with self.database.writing() as session:
            lock_blobs(session, exclusive=False)  # no erasure writes the row anew meanwhile
            row = session.get(ColdStartRow, model_version)
            if row is not None:
                session.delete(row)
        return row is not None
