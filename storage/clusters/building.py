"""Write a run of clusters to SQL: begin it, add its members, finish it with its clusters.

A run is visible once it is finished. A later run removes those that were abandoned.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta

import numpy as np
from sqlalchemy import and_, delete, func, insert, select, text
from sqlalchemy.orm import Session

from storage.clusters._identity import Earlier, earlier_clusters
from storage.clusters.records import ClusterDraft, ClusterImage, Parameter
from storage.database import Database
from storage.errors import InvalidRecord, UnknownCluster
from storage.statements import is_blocked, lock_blobs, parts
from storage.tables import (
    ClusterCounterRow,
    ClusterImageRow,
    ClusterMemberRow,
    ClusterRow,
    ClusterRunRow,
    ImageRow,
    UserRow,
)

MAX_NAME = 128
_FORMAT = np.dtype("<f4")
_MEMBERS_A_TRANSACTION = 5000
_ABANDONED_AFTER = timedelta(days=1)
_DEFAULT_NAME = re.compile(r"run-\d+")


class ClusterBuilder:
    """Writes runs of clusters.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def check_name(self, name: str | None) -> None:
        """Check that a new run's name is 1 to 128 printable characters and not taken.

        Raises:
            InvalidRecord: otherwise.
        """
        if name is None:
            return
        if not 1 <= len(name) <= MAX_NAME or not name.isprintable():
            raise InvalidRecord(
                f"a run's name must be 1 to {MAX_NAME} printable characters, got {name[:200]!r}"
            )
        if _DEFAULT_NAME.fullmatch(name):
            raise InvalidRecord(
                f"run-N is reserved for runs without a name, got {name}: take another"
            )
        with self.database.session() as session:
            _check_free(session, name)

    def begin(
        self,
        model_version: str,
        method: str,
        parameters: Mapping[str, Parameter],
        *,
        num_users: int,
    ) -> int:
        """Begin a run, and remove those that were abandoned more than a day ago.

        Returns:
            Its id.
        """
        now = datetime.now(UTC)
        is_abandoned = and_(
            ClusterRunRow.created_at.is_(None), ClusterRunRow.begun_at < now - _ABANDONED_AFTER
        )
        row = ClusterRunRow(
            model_version=model_version,
            method=method,
            parameters=json.dumps(dict(parameters)),
            num_users=num_users,
            num_clusters=0,
            num_unclustered=num_users,
            begun_at=now,
        )
        with self.database.writing() as session:
            session.execute(delete(ClusterRunRow).where(is_abandoned))
            session.add(row)
            session.flush()
            return row.run_id

    def add_members(
        self,
        run_id: int,
        user_ids: Sequence[str],
        places: Sequence[int],
        similarity: Sequence[float],
    ) -> None:
        """Add members in batches; users erased meanwhile are left out, and those
        who no longer want to be personalised or learned from.

        Args:
            run_id: of a run that is not finished.
            user_ids: of the members, each once in a run.
            places: of each member's cluster.
            similarity: cosine of each member to the cluster's centroid.
        """
        rows = [
            {"run_id": run_id, "user_id": user_id, "place": int(place), "similarity": float(cosine)}
            for user_id, place, cosine in zip(user_ids, places, similarity, strict=True)
        ]
        for start in range(0, len(rows), _MEMBERS_A_TRANSACTION):
            part = sorted(
                rows[start : start + _MEMBERS_A_TRANSACTION], key=lambda row: str(row["user_id"])
            )
            with self.database.writing() as session:
                _begun(session, run_id)
                stored = _lock_users(session, [str(row["user_id"]) for row in part])
                kept = [row for row in part if row["user_id"] in stored]
                if kept:
                    session.execute(insert(ClusterMemberRow), kept)

    def finish(
        self, run_id: int, drafts: Sequence[ClusterDraft], *, name: str | None = None
    ) -> str:
        """Give clusters their ids and make the run visible, in one transaction.

        A cluster keeps the id of the cluster of the newest earlier run with which it shares more
        than half of the users who are in either (Jaccard index above 0.5). There is at most one
        such cluster, and no other cluster has the same. Every other cluster gets a new id. Of two
        runs that finish at once, the second is compared with the first.

        Args:
            run_id: of a run that is not finished.
            drafts: all of its clusters.
            name: by default "run-" and its number.

        Returns:
            The run's name.

        Raises:
            InvalidRecord: if another run got the name meanwhile.
            UnknownCluster: if the run was abandoned and removed meanwhile.
        """
        with self.database.writing() as session:
            lock_blobs(session, exclusive=False)  # an erasure is wholly before this, or after
            counter = _lock_counter(session)
            row = _begun(session, run_id)
            row.name = name if name is not None else f"run-{run_id}"
            _check_free(session, row.name, but=run_id)
            sizes = _sizes(session, run_id)
            earlier, is_comparable = earlier_clusters(session, row, sizes)
            kept = [draft for draft in drafts if draft.place in sizes]  # others have no member left
            for draft in kept:
                before = earlier.get(draft.place)
                if before is None:
                    counter.last_cluster_id += 1
                cluster_id = counter.last_cluster_id if before is None else before.cluster_id
                size = sizes[draft.place]
                session.add(_row(run_id, draft, cluster_id, size, before, is_comparable))
                _put_images(session, run_id, draft)
            row.num_clusters = len(kept)
            row.num_unclustered = row.num_users - sum(sizes.values())
            row.created_at = datetime.now(UTC)
            return row.name

    def remove(self, run_id: int) -> None:
        """Remove a run with all its clusters, if it is there."""
        with self.database.writing() as session:
            session.execute(delete(ClusterRunRow).where(ClusterRunRow.run_id == run_id))


def _begun(session: Session, run_id: int) -> ClusterRunRow:
    row = session.get(ClusterRunRow, run_id)
    if row is None or row.created_at is not None:
        raise UnknownCluster(f"run {run_id} is not being built, or no longer: build it again")
    return row


def _check_free(session: Session, name: str, *, but: int | None = None) -> None:
    query = select(ClusterRunRow.run_id).where(ClusterRunRow.name == name)
    with session.no_autoflush:
        taken = session.scalar(query)
    if taken is not None and taken != but:
        raise InvalidRecord(f"a run's name must be unique, {name!r} is taken: pass another --name")


def _lock_users(session: Session, user_ids: Sequence[str]) -> set[str]:
    """Lock the rows of these users until the transaction ends; return those who may be members."""
    locked: set[str] = set()
    for part in parts(user_ids):
        query = (
            select(UserRow.user_id)
            .where(UserRow.user_id.in_(part), UserRow.personalize, UserRow.learn_from)
            .order_by(UserRow.user_id)
        )
        locked |= set(session.scalars(query.with_for_update(read=True, key_share=True)))
    return locked


def _lock_counter(session: Session) -> ClusterCounterRow:
    """Lock the counter of cluster ids until the transaction ends."""
    session.execute(text("INSERT INTO cluster_counter VALUES (1, 0) ON CONFLICT DO NOTHING"))
    return session.scalars(select(ClusterCounterRow).with_for_update()).one()


def _sizes(session: Session, run_id: int) -> dict[int, int]:
    row = ClusterMemberRow
    query = select(row.place, func.count()).where(row.run_id == run_id).group_by(row.place)
    return {place: size for place, size in session.execute(query)}  # noqa: C416


def _row(
    run_id: int,
    draft: ClusterDraft,
    cluster_id: int,
    size: int,
    before: Earlier | None,
    is_comparable: bool,
) -> ClusterRow:
    centroid = draft.centroid.astype(_FORMAT)
    distance = None
    if before is not None and is_comparable:
        earlier = np.frombuffer(before.centroid, dtype=_FORMAT)
        distance = float(np.clip(1 - np.dot(centroid.astype(float), earlier.astype(float)), 0, 2))
    return ClusterRow(
        run_id=run_id,
        place=draft.place,
        cluster_id=cluster_id,
        size=size,
        cohesion=draft.cohesion,
        centroid=centroid.tobytes(),
        words=json.dumps([asdict(word) for word in draft.words]),
        distance=distance,
        num_joined=None if before is None else size - before.num_shared,
        num_left=None if before is None else before.size - before.num_shared,
    )


def _put_images(session: Session, run_id: int, draft: ClusterDraft) -> None:
    """Write a cluster's images, but for those that went with an erased user or are blocked."""
    images: dict[str, ClusterImage] = {
        image.sha256: image for image in (*draft.liked_images, *draft.disliked_images)
    }
    stored = select(ImageRow.sha256).where(
        ImageRow.sha256.in_(list(images)), ~is_blocked(ImageRow.sha256)
    )
    for sha256 in session.scalars(stored).all():
        session.add(ClusterImageRow(run_id=run_id, place=draft.place, **asdict(images[sha256])))
