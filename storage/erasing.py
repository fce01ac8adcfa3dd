"""One erasure: a user's rows in one transaction, then the bytes of images nobody else refers to.

Blobs follow one rule. Bytes are put inside the transaction that first names them, before its rows,
under a lock that writers share. They are removed after an erasure has been committed, under the
same lock held alone, and only if no row names them by then. So, whoever races and whatever
crashes:

- a row never lacks its bytes: an append that names an image again between an erasure's two halves
  finds no row, puts the bytes (they may still be there) and adds the row, which the second half
  sees and leaves alone; after the second half it puts them anew;
- bytes without a row may be left by a crash between the two. They harm nothing, and the next
  append of the same image takes them up again.

The lock lives in the database, so one blob store belongs to one database.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.orm import Session

from storage.blobs import BlobStore
from storage.coldstart.first_questions import forget_pairs
from storage.database import Database
from storage.errors import UnknownUser
from storage.records import Erased
from storage.statements import parts
from storage.tables import (
    BackfillRow,
    ChoiceRow,
    ClusterImageRow,
    ClusterMemberRow,
    ClusterRow,
    ImageRow,
    PassedOverRow,
    SignatureRow,
    UserRow,
)

_BLOB_LOCK = 7_262_380  # any number that no other program locks in this database


def lock_blobs(session: Session, *, alone: bool) -> None:
    """Hold blobs until the transaction ends: together with other writers, or alone."""
    if session.get_bind().dialect.name == "sqlite":
        return  # a writer is alone anyway
    kind = "" if alone else "_shared"
    session.execute(text(f"SELECT pg_advisory_xact_lock{kind}(:key)"), {"key": _BLOB_LOCK})


def erase_rows(session: Session, user_id: str) -> tuple[Erased, list[str]]:
    """Remove all rows of a user, and of images that no other choice names.

    Returns:
        How much went, and the digests of the images that did.

    Raises:
        UnknownUser: if there is no such user.
    """
    lock_blobs(session, alone=True)
    # Held first, for a signature that is being put would refer to the user while they go.
    held = select(UserRow.user_id).where(UserRow.user_id == user_id).with_for_update()
    if session.scalar(held) is None:
        raise UnknownUser(f"no user {user_id!r} is stored: there is nothing to erase")
    named = _images_named(session, user_id)
    own = select(ChoiceRow.choice_id).where(ChoiceRow.user_id == user_id)
    session.execute(delete(PassedOverRow).where(PassedOverRow.choice_id.in_(own)))
    _remove(session, BackfillRow, user_id)
    _leave_clusters(session, user_id)
    num_signatures = _remove(session, SignatureRow, user_id)
    num_choices = _remove(session, ChoiceRow, user_id)
    _remove(session, UserRow, user_id)
    forget_pairs(session, named)
    gone = _remove_unnamed(session, named)
    return Erased(num_choices, num_signatures, len(gone), sum(gone.values())), list(gone)


def remove_blobs(database: Database, blobs: BlobStore, sha256s: Sequence[str]) -> None:
    """Remove the bytes of those images that no row names by now, some at a time."""
    for part in parts(sha256s):
        with database.writing() as session:
            lock_blobs(session, alone=True)
            query = select(ImageRow.sha256).where(ImageRow.sha256.in_(part))
            for sha256 in set(part) - set(session.scalars(query)):
                blobs.delete(sha256)


def _leave_clusters(session: Session, user_id: str) -> None:
    is_theirs = (
        ClusterMemberRow.run_id == ClusterRow.run_id,
        ClusterMemberRow.place == ClusterRow.place,
        ClusterMemberRow.user_id == user_id,
    )
    theirs = select(ClusterMemberRow.user_id).where(*is_theirs).exists()
    session.execute(update(ClusterRow).where(theirs).values(size=ClusterRow.size - 1))
    session.execute(delete(ClusterMemberRow).where(ClusterMemberRow.user_id == user_id))


def _images_named(session: Session, user_id: str) -> set[str]:
    liked = select(ChoiceRow.liked).where(ChoiceRow.user_id == user_id)
    passed = (
        select(PassedOverRow.sha256)
        .join(ChoiceRow, ChoiceRow.choice_id == PassedOverRow.choice_id)
        .where(ChoiceRow.user_id == user_id)
    )
    return {sha for query in (liked, passed) for sha in session.scalars(query) if sha is not None}


def _remove(
    session: Session,
    table: type[BackfillRow] | type[SignatureRow] | type[ChoiceRow] | type[UserRow],
    user_id: str,
) -> int:
    removed = session.execute(delete(table).where(table.user_id == user_id))
    return int(getattr(removed, "rowcount", 0))


def _remove_unnamed(session: Session, sha256s: Iterable[str]) -> dict[str, int]:
    """Delete the rows of those images that no choice names any more: sizes in bytes by digest."""
    liked = select(ChoiceRow.choice_id).where(ChoiceRow.liked == ImageRow.sha256).exists()
    passed = select(PassedOverRow.choice_id).where(PassedOverRow.sha256 == ImageRow.sha256).exists()
    gone: dict[str, int] = {}
    for part in parts(sorted(sha256s)):
        free = select(ImageRow.sha256, ImageRow.num_bytes).where(
            ImageRow.sha256.in_(part), ~or_(liked, passed)
        )
        sizes = {sha256: num_bytes for sha256, num_bytes in session.execute(free)}  # noqa: C416
        named = ClusterImageRow.sha256.in_(list(sizes))
        session.execute(delete(ClusterImageRow).where(named))
        session.execute(delete(ImageRow).where(ImageRow.sha256.in_(list(sizes))))
        gone |= sizes
    return gone
