"""Checkpoints that were trained from a database: where an erased person may live on."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, select

from storage.database import Database
from storage.tables import TrainingRow


@dataclass(frozen=True, slots=True)
class TrainingRun:
    """A training that began, and perhaps ended.

    Attributes:
        folder: that received states, logs and checkpoints; absolute, on the machine it ran on.
        model_version: of the final checkpoint; empty while it is not there.
        trained_at: when that was saved, or when the run began; UTC.
    """

    folder: str
    model_version: str
    trained_at: datetime


class TrainingStore:
    """Trainings in SQL, one for each folder.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, folder: str, model_version: str = "") -> None:
        """Store that a training has begun, or ended, in place of what is known of its folder.

        Args:
            folder: absolute.
            model_version: of the final checkpoint; empty at the beginning.
        """
        row = TrainingRow(folder=folder, model_version=model_version, trained_at=datetime.now(UTC))
        with self._database.writing() as session:
            session.execute(delete(TrainingRow).where(TrainingRow.folder == folder))
            session.add(row)

    def forget(self, folder: str) -> bool:
        """Remove what is known of a folder; return False if nothing is."""
        with self._database.writing() as session:
            removed = session.execute(delete(TrainingRow).where(TrainingRow.folder == folder))
        return bool(getattr(removed, "rowcount", 0))

    def all(self) -> list[TrainingRun]:
        """All trainings, the oldest first."""
        query = select(TrainingRow).order_by(TrainingRow.training_id)
        with self._database.session() as session:
            return [
                TrainingRun(row.folder, row.model_version, row.trained_at)
                for row in session.scalars(query)
            ]
