"""The identity of clusters across runs: a cluster keeps its id while it keeps its members."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.tables import ClusterMemberRow, ClusterRow, ClusterRunRow

SAME = 0.5
"""Jaccard index of members above which a cluster keeps its earlier id."""


@dataclass(frozen=True, slots=True)
class Earlier:
    """A cluster of the previous run, and how many of its members are in the new one."""

    cluster_id: int
    size: int
    num_shared: int
    centroid: bytes


def earlier_clusters(
    session: Session, run: ClusterRunRow, sizes: Mapping[int, int]
) -> tuple[dict[int, Earlier], bool]:
    """Return the earlier cluster of each new place, and whether centroids are comparable."""
    newest = (
        select(ClusterRunRow)
        .where(ClusterRunRow.created_at.is_not(None))
        .order_by(ClusterRunRow.created_at.desc(), ClusterRunRow.run_id.desc())
        .limit(1)
    )
    before = session.scalars(newest).first()
    if before is None:
        return {}, False
    same = {
        place: old
        for place, old in _overlaps(session, before.run_id, run.run_id)
        if old.num_shared > SAME * (old.size + sizes[place] - old.num_shared)
    }
    return same, before.model_version == run.model_version


def _overlaps(session: Session, old_run: int, new_run: int) -> Iterator[tuple[int, Earlier]]:
    old, new = ClusterMemberRow.__table__.alias("old"), ClusterMemberRow.__table__.alias("new")
    query: Any = (
        select(new.c.place, old.c.place, func.count())
        .join(old, old.c.user_id == new.c.user_id)
        .where(old.c.run_id == old_run, new.c.run_id == new_run)
        .group_by(new.c.place, old.c.place)
    )
    known = {
        row.place: row
        for row in session.scalars(select(ClusterRow).where(ClusterRow.run_id == old_run))
    }
    for place, old_place, num_shared in session.execute(query):
        row = known[old_place]
        yield place, Earlier(row.cluster_id, row.size, num_shared, row.centroid)
