"""Erase a user: the rows in one transaction, then the bytes of images that nobody else refers to.

Blobs follow one rule. Bytes are written inside the transaction that first refers to them, before
its rows, under a shared lock. They are removed after an erasure has been committed, under the same
lock held exclusively, and only if no row refers to them by then. So, whatever races or crashes:

- a row never lacks its bytes: an append that refers to an image again between the two steps of an
  erasure finds no row, writes the bytes (they may still be there) and adds the row, which the
  second step sees and leaves alone; after the second step it writes the bytes again;
- a crash between the two steps may leave bytes without a row. They do no harm, and the next append
  of the same image uses them again.

The lock is in the database, so one blob store belongs to one database.
"""

from collections.abc import Iterable, Sequence

from sqlalchemy import delete, or_, select, update
from sqlalchemy.orm import Session

from storage.blobs import BlobStore
from storage.coldstart.first_questions import forget_pairs
from storage.database import Database
from storage.errors import UnknownUser
from storage.records import Erased
from storage.statements import lock_blobs, parts
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


def erase_rows(session: Session, user_id: str) -> tuple[Erased, list[str]]:
    """Remove all rows of a user, and of images that no other choice names.

    Returns:
        What was removed, and the digests of the images that were.

    Raises:
        UnknownUser: if there is no such user.
    """
    lock_blobs(session, exclusive=True)
    # Locked first, so that no signature is stored meanwhile that refers to the user.
    locked = select(UserRow.user_id).where(UserRow.user_id == user_id).with_for_update()
    if session.scalar(locked) is None:
        raise UnknownUser(f"no user {user_id!r} is stored: there is nothing to erase")
    named = images_named(session, user_id)
    own = select(ChoiceRow.choice_id).where(ChoiceRow.user_id == user_id)
    session.execute(delete(PassedOverRow).where(PassedOverRow.choice_id.in_(own)))
    _remove(session, BackfillRow, user_id)
    leave_clusters(session, user_id)
    num_signatures = _remove(session, SignatureRow, user_id)
    num_choices = _remove(session, ChoiceRow, user_id)
    _remove(session, UserRow, user_id)
    forget_pairs(session, named)
    gone = remove_unnamed(session, named)
    return Erased(num_choices, num_signatures, len(gone), sum(gone.values())), list(gone)


def remove_blobs(database: Database, blobs: BlobStore, sha256s: Sequence[str]) -> None:
    """Remove the bytes of images that no row refers to by now, in batches."""
    for part in parts(sha256s):
        with database.writing() as session:
            lock_blobs(session, exclusive=True)
            query = select(ImageRow.sha256).where(ImageRow.sha256.in_(part))
            for sha256 in set(part) - set(session.scalars(query)):
                blobs.delete(sha256)


def leave_clusters(session: Session, user_id: str) -> None:
    """Remove a user from all clusters, whose sizes shrink."""
    is_theirs = (
        ClusterMemberRow.run_id == ClusterRow.run_id,
        ClusterMemberRow.place == ClusterRow.place,
        ClusterMemberRow.user_id == user_id,
    )
    theirs = select(ClusterMemberRow.user_id).where(*is_theirs).exists()
    session.execute(update(ClusterRow).where(theirs).values(size=ClusterRow.size - 1))
    session.execute(delete(ClusterMemberRow).where(ClusterMemberRow.user_id == user_id))


def images_named(session: Session, user_id: str) -> set[str]:
    """Return the SHA-256 of each image that a user's choices name."""
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


def remove_unnamed(session: Session, sha256s: Iterable[str]) -> dict[str, int]:
    """Delete the rows of images that no choice names any more; return sizes in bytes by digest."""
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
