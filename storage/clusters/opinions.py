"""What the clusters of a run liked, passed over and wrote, counted in SQL and streamed."""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Integer, Select, and_, func, literal, select, union_all

from storage.clusters.records import ImageOpinion, PromptUse
from storage.database import Database
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
    ).where(ChoiceRow.liked.is_not(None))
    passed = select(
        PassedOverRow.sha256, ChoiceRow.user_id, literal(0, Integer).label("likes")
    ).join(ChoiceRow, ChoiceRow.choice_id == PassedOverRow.choice_id)
    seen = union_all(liked, passed).subquery()
    place = func.coalesce(ClusterMemberRow.place, NO_CLUSTER).label("place")
    query = (
        select(seen.c.sha256, place, func.sum(seen.c.likes), func.count())
        .outerjoin(ClusterMemberRow, _is_member(run_id, seen.c.user_id))
        .group_by(seen.c.sha256, place)
        .order_by(seen.c.sha256)
    )
    for sha256, at, num_likes, num_seen in _streamed(database, query):
        yield ImageOpinion(sha256, at, int(num_likes), int(num_seen) - int(num_likes))


def count_opinions(database: Database) -> tuple[int, int]:
    """Count all likes, and all images passed over."""
    likes = select(func.count()).where(ChoiceRow.liked.is_not(None))
    passes = select(func.count()).select_from(PassedOverRow)
    with database.session() as session:
        return session.scalar(likes) or 0, session.scalar(passes) or 0


def prompt_uses(database: Database, run_id: int) -> Iterator[PromptUse]:
    """Count how often each cluster used each prompt that is not empty.

    Args:
        database: with a current schema.
        run_id: of a run that has its members.
    """
    place = func.coalesce(ClusterMemberRow.place, NO_CLUSTER).label("place")
    query = (
        select(
            ChoiceRow.prompt,
            place,
            func.count(),
            func.min(ChoiceRow.user_id),
            func.max(ChoiceRow.user_id),
        )
        .outerjoin(ClusterMemberRow, _is_member(run_id, ChoiceRow.user_id))
        .where(ChoiceRow.prompt != "")
        .group_by(ChoiceRow.prompt, place)
    )
    for prompt, at, num_choices, first, last in _streamed(database, query):
        yield PromptUse(prompt, at, num_choices, first, last)


def _is_member(run_id: int, user_id: Any) -> Any:
    return and_(ClusterMemberRow.run_id == run_id, ClusterMemberRow.user_id == user_id)


def _streamed(database: Database, query: Select[*tuple[Any, ...]]) -> Iterator[Any]:
    with database.session() as session:
        yield from session.execute(query.execution_options(yield_per=_ROWS_AT_ONCE))
