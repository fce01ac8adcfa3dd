"""Where runs of clusters were exported to: folders that an erasure must look into as well."""

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, select

from storage.database import Database
from storage.tables import ClusterExportRow


@dataclass(frozen=True, slots=True)
class ClusterExport:
    """A run's members and clusters as two files.

    Attributes:
        run_id: of the run, which may have been removed since.
        folder: absolute, on the machine that exported it.
        format: "parquet" or "csv".
        exported_at: when, UTC.
    """

    run_id: int
    folder: str
    format: str
    exported_at: datetime


class ClusterExportStore:
    """Exports in SQL, the last one of each folder and format.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, run_id: int, folder: str, format: str) -> None:
        """Store that a run is exported now, in place of what was exported to the same files.

        Args:
            run_id: of the run.
            folder: absolute.
            format: "parquet" or "csv".
        """
        row = ClusterExportRow(
            run_id=run_id, folder=folder, format=format, exported_at=datetime.now(UTC)
        )
        same = (ClusterExportRow.folder == folder, ClusterExportRow.format == format)
        with self._database.writing() as session:
            session.execute(delete(ClusterExportRow).where(*same))
            session.add(row)

    def forget(self, folder: str) -> bool:
        """Remove what is known of a folder, in all formats; return False if nothing is."""
        with self._database.writing() as session:
            here = ClusterExportRow.folder == folder
            removed = session.execute(delete(ClusterExportRow).where(here))
        return bool(getattr(removed, "rowcount", 0))

    def all(self) -> list[ClusterExport]:
        """All exports, the oldest first."""
        query = select(ClusterExportRow).order_by(ClusterExportRow.export_id)
        with self._database.session() as session:
            return [
                ClusterExport(row.run_id, row.folder, row.format, row.exported_at)
                for row in session.scalars(query)
            ]
