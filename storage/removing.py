"""Remove choices in transactions of a bounded number of them, with all that hangs on them.

Images that no other choice names go, and so do their bytes and first questions that nothing else
supports. The histories' revisions grow, so that signatures read from them become stale; who has no
pair left loses their signatures, and who has no choice left is in no cluster.

One that is interrupted has done a part, and the same call does the rest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, Select, delete, select, update
from sqlalchemy.orm import Session

from storage.blobs import BlobStore
from storage.coldstart.first_questions import forget_pairs
from storage.database import Database
from storage.erasing import leave_clusters, remove_blobs, remove_unnamed
from storage.statements import hold_revisions, lock_blobs
from storage.tables import BackfillRow, ChoiceRow, PassedOverRow, SignatureRow, UserRow

CHOICES_AT_ONCE = 200

FindChoices = Callable[[int], Select[int, str]]
"""A choice's id -> choices to be removed after it: id and user, by id."""


@dataclass(frozen=True, slots=True)
class Removed:
    """How much went.

    Attributes:
        num_choices: removed.
        num_emptied: users who have no choice left.
        num_images: that no other choice names.
        num_bytes: of these images.
    """

    num_choices: int = 0
    num_emptied: int = 0
    num_images: int = 0
    num_bytes: int = 0

    def __add__(self, other: "Removed") -> "Removed":
        """Add up two parts."""
        return Removed(
            self.num_choices + other.num_choices,
            self.num_emptied + other.num_emptied,
            self.num_images + other.num_images,
            self.num_bytes + other.num_bytes,
        )


def remove_in_parts(
    database: Database,
    blobs: BlobStore,
    find: FindChoices,
    *,
    progress: Callable[[int], None] = lambda num_choices: None,
) -> Removed:
    """Remove all choices that a query finds, in the order of their ids.

    Args:
        database: with a current schema.
        blobs: where image bytes are.
        find: makes the query.
        progress: called after each transaction with the number of choices removed so far.
    """
    removed, after = Removed(), 0
    while True:
        with database.writing() as session:
            # As an erasure, so that no choice that needs these images is appended meanwhile.
            lock_blobs(session, exclusive=True)
            doomed = session.execute(find(after).limit(CHOICES_AT_ONCE)).all()
            if not doomed:
                return removed
            part, images = _remove_part(session, doomed)
        remove_blobs(database, blobs, images)
        removed, after = removed + part, doomed[-1][0]
        progress(removed.num_choices)


def remove_choices(session: Session, choice_ids: Sequence[int]) -> set[str]:
    """Remove the rows of choices; return the images that they named.

    Args:
        session: of a writing transaction that has locked blobs exclusively.
        choice_ids: at most a few hundred.
    """
    theirs = PassedOverRow.choice_id.in_(choice_ids)
    them = ChoiceRow.choice_id.in_(choice_ids)
    images = set(session.scalars(select(PassedOverRow.sha256).where(theirs)))
    images |= set(session.scalars(select(ChoiceRow.liked).where(them)))
    session.execute(delete(PassedOverRow).where(theirs))
    session.execute(delete(ChoiceRow).where(them))
    return {sha256 for sha256 in images if sha256 is not None}


def outdate(session: Session, user_ids: Sequence[str]) -> list[str]:
    """Bring what is derived from these users in line with the choices they have left.

    Signatures become stale, and those that could not be read anew go. Who has no choice left is in
    no cluster and in no ledger of backfills.

    Args:
        session: of a writing transaction that has locked the users and removed choices of theirs,
            or images from them, or has let them count again.
        user_ids: at most a few hundred.

    Returns:
        Who has no choice left.
    """
    theirs = UserRow.user_id.in_(user_ids)
    session.execute(update(UserRow).where(theirs).values(revision=UserRow.revision + 1))
    has_pair = (
        select(ChoiceRow.choice_id)
        .join(PassedOverRow, PassedOverRow.choice_id == ChoiceRow.choice_id)
        .where(ChoiceRow.user_id == SignatureRow.user_id, ChoiceRow.liked.is_not(None))
    )
    session.execute(
        delete(SignatureRow).where(SignatureRow.user_id.in_(user_ids), ~has_pair.exists())
    )
    emptied = _without_choices(session, user_ids)
    for user_id in emptied:
        leave_clusters(session, user_id)
    session.execute(delete(BackfillRow).where(BackfillRow.user_id.in_(emptied)))
    return emptied


def _remove_part(session: Session, doomed: Sequence[Row[int, str]]) -> tuple[Removed, list[str]]:
    user_ids = sorted({user_id for _, user_id in doomed})
    hold_revisions(session, user_ids)
    images = remove_choices(session, [choice_id for choice_id, _ in doomed])
    emptied = outdate(session, user_ids)
    forget_pairs(session, images)
    gone = remove_unnamed(session, images)
    return Removed(len(doomed), len(emptied), len(gone), sum(gone.values())), list(gone)


def _without_choices(session: Session, user_ids: Sequence[str]) -> list[str]:
    has_chosen = select(ChoiceRow.choice_id).where(ChoiceRow.user_id == UserRow.user_id).exists()
    query = select(UserRow.user_id).where(UserRow.user_id.in_(user_ids), ~has_chosen)
    return list(session.scalars(query.order_by(UserRow.user_id)))
