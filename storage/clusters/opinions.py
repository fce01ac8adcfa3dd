"""What the clusters of a run liked and passed over, and what users wrote: counted by SQL.

Users who do not want to be learned from are left out, and so are blocked images.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Integer, Select, and_, case, func, literal, select, union_all

from storage.clusters.records import ImageOpinion, PromptUse
from storage.database import Database
from storage.statements import MAY_BE_LEARNED_FROM, is_blocked
from storage.tables import ChoiceRow, ClusterMemberRow, PassedOverRow

NO_CLUSTER = -1
"""The place of users who are in no cluster of the run."""

_ROWS_AT_ONCE = 5000


def image_opinions(database: Database, run_id: int) -> Iterator[ImageOpinion]:
    """Count how often each cluster liked and passed over each image, grouped by image.

    Args:
        database: with a current schema.
        run_id: of a run that has its members.
    """
    liked = select(
        ChoiceRow.liked.label("sha256"),
        ChoiceRow.user_id.label("user_id"),
        literal(1, Integer).label("likes"),
    ).where(ChoiceRow.liked.is_not(None), MAY_BE_LEARNED_FROM)
    passed = (
        select(PassedOverRow.sha256, ChoiceRow.user_id, literal(0, Integer).label("likes"))
        .join(ChoiceRow, ChoiceRow.choice_id == PassedOverRow.choice_id)
        .where(MAY_BE_LEARNED_FROM, ~is_blocked(PassedOverRow.sha256))
    )
    seen = union_all(liked, passed).subquery()
    likes, times = func.sum(seen.c.likes).label("likes"), func.count().label("times")
    by_user = (
        select(seen.c.sha256, seen.c.user_id, likes, times)
        .group_by(seen.c.sha256, seen.c.user_id)
        .subquery()
    )
    place = func.coalesce(ClusterMemberRow.place, NO_CLUSTER).label("place")
    is_liker = case((2 * by_user.c.likes > by_user.c.times, 1), else_=0)
    query = (
        select(
            by_user.c.sha256,
            place,
            func.sum(by_user.c.likes),
            func.sum(by_user.c.times - by_user.c.likes),
            func.count(),
            func.sum(is_liker),
        )
        .outerjoin(ClusterMemberRow, _is_member(run_id, by_user.c.user_id))
        .group_by(by_user.c.sha256, place)
        .order_by(by_user.c.sha256)
    )
    for sha256, at, *counts in _streamed(database, query):
        yield ImageOpinion(sha256, at, *(int(count) for count in counts))


def count_opinions(database: Database) -> tuple[int, int]:
    """Count all likes, and all images passed over."""
    likes = select(func.count()).where(ChoiceRow.liked.is_not(None), MAY_BE_LEARNED_FROM)
    passes = (
        select(func.count())
        .select_from(PassedOverRow)
        .join(ChoiceRow, ChoiceRow.choice_id == PassedOverRow.choice_id)
        .where(MAY_BE_LEARNED_FROM, ~is_blocked(PassedOverRow.sha256))
    )
    with database.session() as session:
        return session.scalar(likes) or 0, session.scalar(passes) or 0


def prompt_uses(database: Database, run_id: int) -> Iterator[PromptUse]:
    """Count how often each user used each prompt that is not empty, grouped by user.

    Args:
        database: with a current schema.
        run_id: of a run that has its members.
    """
    place = func.coalesce(ClusterMemberRow.place, NO_CLUSTER).label("place")
    query = (
        select(ChoiceRow.prompt, place, ChoiceRow.user_id, func.count())
        .outerjoin(ClusterMemberRow, _is_member(run_id, ChoiceRow.user_id))
        .where(ChoiceRow.prompt != "", MAY_BE_LEARNED_FROM)
        .group_by(ChoiceRow.user_id, place, ChoiceRow.prompt)
        .order_by(ChoiceRow.user_id)
    )
    for row in _streamed(database, query):
        yield PromptUse(*row)


def _is_member(run_id: int, user_id: Any) -> Any:
    return and_(ClusterMemberRow.run_id == run_id, ClusterMemberRow.user_id == user_id)


def _streamed(database: Database, query: Select[*tuple[Any, ...]]) -> Iterator[Any]:
    with database.session() as session:
        yield from session.execute(query.execution_options(yield_per=_ROWS_AT_ONCE))
