"""What analysts call clusters; a name stays with the id, whatever run the cluster is in."""

from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import delete, select

from storage.database import Database
from storage.errors import InvalidRecord, UnknownCluster
from storage.statements import parts
from storage.tables import ClusterNameRow, ClusterRow

MAX_CLUSTER_NAME = 128


class ClusterNames:
    """The names of clusters; two may have the same.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def of(self, cluster_ids: Sequence[int]) -> dict[int, str]:
        """The name of each of these clusters; those without one are absent."""
        row = ClusterNameRow
        names: dict[int, str] = {}
        with self.database.session() as session:
            for part in parts(cluster_ids):
                query = select(row.cluster_id, row.name).where(row.cluster_id.in_(part))
                names |= {cluster_id: name for cluster_id, name in session.execute(query)}  # noqa: C416
        return names

    def give(self, cluster_id: int, name: str) -> None:
        """Name a cluster, in place of the name that it had.

        Args:
            cluster_id: of a cluster that is in some run.
            name: 1 to 128 printable characters, not all of them spaces.

        Raises:
            InvalidRecord: if the name breaks its rule.
            UnknownCluster: if no run has the cluster.
        """
        if not 1 <= len(name) <= MAX_CLUSTER_NAME or not name.isprintable() or name.isspace():
            raise InvalidRecord(
                f"a cluster's name must be 1 to {MAX_CLUSTER_NAME} printable characters,"
                f" got {name[:200]!r}"
            )
        known = select(ClusterRow.cluster_id).where(ClusterRow.cluster_id == cluster_id).limit(1)
        with self.database.writing() as session:
            if session.scalar(known) is None:
                raise UnknownCluster(
                    f"no run has cluster {cluster_id}: `recsys clusters list` shows those there are"
                )
            session.merge(
                ClusterNameRow(cluster_id=cluster_id, name=name, named_at=datetime.now(UTC))
            )

    def remove(self, cluster_id: int) -> None:
        """Take a cluster's name away, if it has one."""
        with self.database.writing() as session:
            session.execute(delete(ClusterNameRow).where(ClusterNameRow.cluster_id == cluster_id))
