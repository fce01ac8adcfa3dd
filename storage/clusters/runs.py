"""Clusters of users as they were built: runs by name, clusters by id, members by page."""

import json
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from sqlalchemy import Select, and_, select
from sqlalchemy.orm import Session

from storage.clusters.records import Cluster, ClusterImage, ClusterRun, ClusterWord, Drift, Member
from storage.database import Database
from storage.errors import UnknownCluster
from storage.rules import check_limit
from storage.statements import parts
from storage.tables import (
    ClusterImageRow,
    ClusterMemberRow,
    ClusterNameRow,
    ClusterRow,
    ClusterRunRow,
)

NUM_TYPICAL = 12
_MAX_NUMBER = 2**63 - 1


class ClusterStore:
    """Finished runs of clusters; a run that is being built is not visible.

    An erasure removes the user, and the images that go with them, from every run in its own
    transaction. Counts of likes and rates of words stay as they were when the run was built.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def runs(self) -> list[ClusterRun]:
        """All runs, the newest first."""
        with self.database.session() as session:
            return [_run(row) for row in session.scalars(_finished())]

    def run(self, name: str | None = None, model_version: str | None = None) -> ClusterRun:
        """A run by name, or the newest.

        Args:
            name: of the run; the newest by default.
            model_version: of the run; any by default.

        Raises:
            UnknownCluster: if there is none.
        """
        query = _finished().limit(1)
        if name is not None:
            query = query.where(ClusterRunRow.name == _text(name))
        if model_version is not None:
            query = query.where(ClusterRunRow.model_version == _text(model_version))
        with self.database.session() as session:
            row = session.scalars(query).first()
        if row is None:
            raise UnknownCluster(_no_run(name, model_version))
        return _run(row)

    def runs_with(self, user_id: str) -> list[ClusterRun]:
        """Runs with a user in one of their clusters, the newest first."""
        is_member = select(ClusterMemberRow.user_id).where(
            ClusterMemberRow.run_id == ClusterRunRow.run_id, ClusterMemberRow.user_id == user_id
        )
        with self.database.session() as session:
            return [_run(row) for row in session.scalars(_finished().where(is_member.exists()))]

    def clusters(self, run_id: int) -> list[Cluster]:
        """All clusters of a run, the largest first.

        Raises:
            UnknownCluster: if there is no such run.
        """
        rows = (
            select(ClusterRow)
            .where(ClusterRow.run_id == run_id)
            .order_by(ClusterRow.size.desc(), ClusterRow.cluster_id)
        )
        with self.database.session() as session:
            _check_finished(session, run_id)
            images = _images(session, run_id)
            return [
                _cluster(session, row, images.get(row.place, ())) for row in session.scalars(rows)
            ]

    def cluster(self, run_id: int, cluster_id: int) -> Cluster:
        """One cluster of a run.

        Raises:
            UnknownCluster: if there is no such run, or no such cluster in it.
        """
        with self.database.session() as session:
            row = _row(session, run_id, cluster_id)
            images = _images(session, run_id, place=row.place)
            return _cluster(session, row, images.get(row.place, ()))

    def members(
        self, run_id: int, cluster_id: int | None = None, *, after: str = "", limit: int = 1000
    ) -> list[Member]:
        """A page of a cluster's members, by user id.

        Args:
            run_id: of a finished run.
            cluster_id: whose members; those of all clusters by default.
            after: only users after this id, in code point order.
            limit: the most members to return, at least 1.

        Raises:
            UnknownCluster: if there is no such run, or no such cluster in it.
            ValueError: if the limit is less than 1.
        """
        row = ClusterMemberRow
        page = (
            _with_cluster(run_id)
            .where(row.user_id > _text(after))
            .order_by(row.user_id)
            .limit(check_limit(limit))
        )
        with self.database.session() as session:
            if cluster_id is None:
                _check_finished(session, run_id)
            else:
                page = page.where(row.place == _row(session, run_id, cluster_id).place)
            return [Member(*each) for each in session.execute(page)]

    def cluster_of(self, run_id: int, user_ids: Sequence[str]) -> dict[str, int]:
        """The cluster of each of these users; users in no cluster are absent.

        Raises:
            UnknownCluster: if there is no such run.
        """
        clusters: dict[str, int] = {}
        with self.database.session() as session:
            _check_finished(session, run_id)
            for part in parts([_text(user_id) for user_id in user_ids]):
                query = _with_cluster(run_id).where(ClusterMemberRow.user_id.in_(part))
                rows = session.execute(query)
                clusters |= {user_id: cluster_id for user_id, _, cluster_id in rows}
        return clusters


def _finished() -> Select[ClusterRunRow]:
    is_finished = ClusterRunRow.created_at.is_not(None)
    newest_first = (ClusterRunRow.created_at.desc(), ClusterRunRow.run_id.desc())
    return select(ClusterRunRow).where(is_finished).order_by(*newest_first)


def _with_cluster(run_id: int) -> Select[str, float, int]:
    """Members of a run: user, similarity, cluster."""
    member = ClusterMemberRow
    is_theirs = and_(ClusterRow.run_id == member.run_id, ClusterRow.place == member.place)
    return (
        select(member.user_id, member.similarity, ClusterRow.cluster_id)
        .join(ClusterRow, is_theirs)
        .where(member.run_id == run_id)
    )


def _check_finished(session: Session, run_id: int) -> None:
    query = select(ClusterRunRow.run_id).where(
        ClusterRunRow.run_id == _number(run_id), ClusterRunRow.created_at.is_not(None)
    )
    if session.scalar(query) is None:
        raise UnknownCluster(
            f"no run of clusters has the number {run_id}: run `recsys clusters build`"
        )


def _row(session: Session, run_id: int, cluster_id: int) -> ClusterRow:
    _check_finished(session, run_id)
    query = select(ClusterRow).where(
        ClusterRow.run_id == run_id, ClusterRow.cluster_id == _number(cluster_id)
    )
    row = session.scalars(query).first()
    if row is None:
        raise UnknownCluster(
            f"the run has no cluster {cluster_id}: `recsys clusters list` shows those it has"
        )
    return row


def _cluster(session: Session, row: ClusterRow, images: Sequence[ClusterImage]) -> Cluster:
    typical = _typical(session, row.run_id, row.place, NUM_TYPICAL)
    drift = None
    if row.num_joined is not None and row.num_left is not None:
        drift = Drift(row.distance, row.num_joined, row.num_left)
    return Cluster(
        cluster_id=row.cluster_id,
        size=row.size,
        cohesion=row.cohesion,
        # Of unit vectors, the mean cosine to all members is the product with their mean.
        medoid=typical[0] if typical else None,
        typical_members=typical,
        liked_images=tuple(image for image in images if image.z > 0),
        disliked_images=tuple(image for image in reversed(images) if image.z < 0),
        words=tuple(ClusterWord(**word) for word in json.loads(row.words)),
        drift=drift,
        name=session.scalar(
            select(ClusterNameRow.name).where(ClusterNameRow.cluster_id == row.cluster_id)
        ),
    )


def _typical(session: Session, run_id: int, place: int, limit: int) -> tuple[str, ...]:
    row = ClusterMemberRow
    query = (
        select(row.user_id)
        .where(row.run_id == run_id, row.place == place)
        .order_by(row.similarity.desc(), row.user_id)
        .limit(limit)
    )
    return tuple(session.scalars(query))


def _images(
    session: Session, run_id: int, *, place: int | None = None
) -> dict[int, list[ClusterImage]]:
    """Images of a run's clusters, by place, from the one liked most to the one liked least."""
    row = ClusterImageRow
    query = select(row).where(row.run_id == run_id).order_by(row.place, row.z.desc(), row.sha256)
    if place is not None:
        query = query.where(row.place == place)
    return {
        at: [
            ClusterImage(i.sha256, i.num_likes, i.num_passes, i.overall_rate, i.z, i.num_users, i.q)
            for i in rows
        ]
        for at, rows in groupby(session.scalars(query), key=lambda image: image.place)
    }


def _run(row: ClusterRunRow) -> ClusterRun:
    assert row.name is not None, "a finished run has a name"
    assert row.created_at is not None, "a finished run has an end"
    parameters: dict[str, Any] = json.loads(row.parameters)
    return ClusterRun(
        run_id=row.run_id,
        name=row.name,
        model_version=row.model_version,
        method=row.method,
        parameters=parameters,
        created_at=row.created_at,
        num_users=row.num_users,
        num_clusters=row.num_clusters,
        num_unclustered=row.num_unclustered,
    )


def _no_run(name: str | None, model_version: str | None) -> str:
    of_version = "" if model_version is None else f" of model version {model_version[:64]}"
    if name is None:
        return f"no clusters{of_version} are built yet: run `recsys clusters build`"
    return (
        f"no run of clusters{of_version} has the name {name[:128]!r}: `recsys clusters list --runs`"
        " shows those there are"
    )


def _text(value: str) -> str:
    """A caller's text without NUL and lone surrogates, which no stored text contains."""
    return value.replace("\x00", "\ufffd").encode("utf-8", "replace").decode()


def _number(value: int) -> int:
    """A caller's number; -1, which no row has, for one that a database cannot hold."""
    return value if 0 <= value <= _MAX_NUMBER else -1
