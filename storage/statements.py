"""SQL that several stores send: values in parts, rows that may be there, users and blobs locked.

The takedown of a blocked image takes many transactions. What it has not reached yet is left out
where choices are read, by `STANDS` and `is_blocked`.
"""

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, and_, or_, select, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from storage.tables import BlockedImageRow, ChoiceRow, PassedOverRow, Table, UserRow


def is_blocked(
    sha256: InstrumentedAttribute[str] | InstrumentedAttribute[str | None],
) -> ColumnElement[bool]:
    """Whether an image is blocked, by the column that names it; False where it names none."""
    return select(BlockedImageRow.sha256).where(BlockedImageRow.sha256 == sha256).exists()


_Passed = aliased(PassedOverRow)
_shows_another = select(_Passed.sha256).where(
    _Passed.choice_id == ChoiceRow.choice_id, ~is_blocked(_Passed.sha256)
)
STANDS = and_(
    ~is_blocked(ChoiceRow.liked), or_(ChoiceRow.liked.is_not(None), _shows_another.exists())
)
"""Of choices: those that the takedowns of blocked images leave, though maybe not as they are."""

MAY_BE_SIGNED = (
    UserRow.personalize,
    select(ChoiceRow.choice_id).where(ChoiceRow.user_id == UserRow.user_id).exists(),
)
"""Of users: those who need a signature, as they have chosen and want to be personalised."""

MAY_BE_LEARNED_FROM = and_(
    select(UserRow.user_id)
    .where(UserRow.user_id == ChoiceRow.user_id, UserRow.learn_from)
    .exists(),
    STANDS,
)
"""Of choices that stand: those of users who let others profit from what they chose."""

T = TypeVar("T")
_BLOB_LOCK = 7_262_380  # an arbitrary key for an advisory lock
MAX_VALUES = 500
"""Values in one IN (...), well under SQLite's limit on parameters."""


def parts(values: Sequence[T], size: int = MAX_VALUES) -> Iterator[Sequence[T]]:
    """Split values into parts of at most `size`."""
    return (values[start : start + size] for start in range(0, len(values), size))


def insert_into(session: Session, table: type[Table]) -> "sqlite.Insert | postgresql.Insert":
    """Return an INSERT that knows ON CONFLICT, in the database's dialect."""
    if session.get_bind().dialect.name == "sqlite":
        return sqlite.insert(table)
    return postgresql.insert(table)


def lock_blobs(session: Session, *, exclusive: bool) -> None:
    """Lock blobs until the transaction ends: shared with other writers, or exclusively.

    `storage.erasing` says why.
    """
    if session.get_bind().dialect.name == "sqlite":
        return  # it has one writer at a time
    kind = "" if exclusive else "_shared"
    session.execute(text(f"SELECT pg_advisory_xact_lock{kind}(:key)"), {"key": _BLOB_LOCK})


def hold_revisions(
    session: Session, user_ids: Sequence[str], *, is_personal: bool = False
) -> dict[str, int]:
    """Return the revisions of those users who exist; their rows are locked until the end.

    Args:
        session: of a writing transaction.
        user_ids: sorted, for all writers lock in the order of ids.
        is_personal: leave out users who do not want to be personalised.
    """
    revisions: dict[str, int] = {}
    for part in parts(user_ids):
        query = (
            select(UserRow.user_id, UserRow.revision)
            .where(UserRow.user_id.in_(part))
            .order_by(UserRow.user_id)
            .with_for_update()
        )
        if is_personal:
            query = query.where(UserRow.personalize)
        revisions |= {user_id: revision for user_id, revision in session.execute(query)}  # noqa: C416
    return revisions


def put_newer(
    session: Session, table: Any, rows: Sequence[dict[str, Any]], columns: Sequence[str]
) -> None:
    """Insert rows, each in place of the one with its user and model version.

    A stored row of a later revision stays.

    Args:
        session: of a writing transaction.
        table: with user_id and model_version as its key, and a revision.
        rows: at least one.
        columns: those that are replaced.
    """
    statement = insert_into(session, table)
    session.execute(
        statement.on_conflict_do_update(
            index_elements=["user_id", "model_version"],
            set_={name: getattr(statement.excluded, name) for name in columns},
            where=table.revision <= statement.excluded.revision,
        ),
        rows,
    )
