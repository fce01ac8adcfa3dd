"""Take an image down: out of all choices, first questions and clusters, its bytes with it.

A choice that liked the image is removed; from one that passed it over, the image is taken out, and
the choice is removed if nothing is left of it. The histories' revisions grow, so that signatures
read from them become stale; who has no pair left loses their signatures, and who has no choice left
is in no cluster.

All of it goes in transactions of a bounded number of choices. One that is interrupted has done a
part, and the same call does the rest. `block` first keeps every new choice of the image out, and
nothing reads the image or shows it from then on: see `storage.statements.STANDS`. Each transaction
of a block's takedown looks whether the block still stands, for `unblock` ends it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from storage.blobs import BlobStore
from storage.coldstart.first_questions import forget_image, forget_pairs
from storage.database import Database
from storage.erasing import remove_blobs, remove_unnamed
from storage.errors import ImageBlocked, NotBlocked, UnknownImage
from storage.records import BlockedImage, Takedown
from storage.removing import outdate, remove_choices
from storage.rules import check_limit, check_sha256, check_text
from storage.statements import hold_revisions, insert_into, lock_blobs, parts
from storage.tables import (
    BlockedImageRow,
    ChoiceRow,
    ClusterImageRow,
    ImageRow,
    PassedOverRow,
)

MAX_BY_CHARS = 256
MAX_REASON_CHARS = 1000
CHOICES_AT_ONCE = 200
_NUM_NAMED = 3


@dataclass(frozen=True, slots=True)
class BlockMark:
    """What tells that an image was blocked since, or one that is blocked has gone: another mark.

    Attributes:
        num_blocked: how many there are.
        newest_at: when the last of them was blocked, UTC; None where there is none.
        num_stored: how many of them are stored, for their takedown is not over.
    """

    num_blocked: int
    newest_at: datetime | None
    num_stored: int


NOTHING_BLOCKED = BlockMark(0, None, 0)


class ImageTakedowns:
    """Takes images down, and keeps the list of those that are accepted nowhere again.

    Args:
        database: with a current schema.
        blobs: where image bytes are.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self.database = database
        self.blobs = blobs

    def remove(self, sha256: str) -> Takedown:
        """Remove an image, and what is stored of it, from everywhere; it may be stored again.

        Images that stood in removed choices alone go with it.

        Raises:
            InvalidRecord: if it is no SHA-256.
            UnknownImage: if no stored image has it.
        """
        check_sha256("sha256", sha256)
        if not self._is_stored(sha256):
            raise UnknownImage(f"no image {sha256} is stored: there is nothing to remove")
        return self._take_down(sha256, of_block=False)

    def block(self, sha256: str, *, by: str = "", reason: str = "") -> Takedown:
        """Remove an image that may be stored, and accept it nowhere again before `unblock`.

        Args and Raises: as `record_block`.
        """
        self.record_block(sha256, by=by, reason=reason)
        return self.take_down(sha256)

    def record_block(self, sha256: str, *, by: str = "", reason: str = "") -> None:
        """Accept an image nowhere again, and let nothing read it; `take_down` removes it.

        One that is blocked already stays so, with what was said of it then. First questions and
        clusters lose it at once; choices are read as the takedown will leave them.

        Args:
            sha256: of the image.
            by: who asks for it, at most 256 characters.
            reason: why, at most 1,000 characters.

        Raises:
            InvalidRecord: if an argument breaks its rule.
        """
        check_sha256("sha256", sha256)
        check_text("by", by, at_most=MAX_BY_CHARS)
        check_text("reason", reason, at_most=MAX_REASON_CHARS)
        now = datetime.now(UTC)
        row = {"sha256": sha256, "blocked_at": now, "blocked_by": by, "reason": reason}
        with self.database.writing() as session:
            # Choices that are being appended are stored before it, or see it.
            lock_blobs(session, exclusive=True)
            session.execute(insert_into(session, BlockedImageRow).on_conflict_do_nothing(), row)
            _show_no_more(session, sha256)

    def take_down(self, sha256: str) -> Takedown:
        """Remove a blocked image, stored or not, from all choices, and its bytes.

        It goes on where one ended, and ends with the block: what is left at `unblock` stays.

        Args:
            sha256: of the image, in form.

        Returns:
            What went until it was over or the image was unblocked.
        """
        return self._take_down(sha256, of_block=True)

    def unfinished(self, *, until: datetime | None = None) -> list[str]:
        """Blocked images whose takedown goes on or was interrupted, by SHA-256.

        Args:
            until: only those blocked before it, UTC; None: all.
        """
        query = select(BlockedImageRow.sha256).where(_is_stored(BlockedImageRow.sha256))
        if until is not None:
            query = query.where(BlockedImageRow.blocked_at < until)
        with self.database.session() as session:
            return list(session.scalars(query.order_by(BlockedImageRow.sha256)))

    def unblock(self, sha256: str) -> BlockedImage:
        """Accept an image again; what was removed stays removed.

        A takedown of it that still runs ends. What is left of it counts again, so the revisions of
        histories that show it grow: what was read from them during the block is stale.

        Returns:
            What was said of it. Where `is_unfinished`, something is left.

        Raises:
            InvalidRecord: if it is no SHA-256.
            NotBlocked: if it is not blocked.
        """
        check_sha256("sha256", sha256)
        with self.database.writing() as session:
            # A takedown's transaction is over before it, or sees that the block has gone.
            lock_blobs(session, exclusive=True)
            row = session.get(BlockedImageRow, sha256)
            if row is None:
                raise NotBlocked(f"image {sha256} is not blocked: there is nothing to unblock")
            session.delete(row)
            _outdate_all(session, sha256)
            return _record(row, is_unfinished=session.get(ImageRow, sha256) is not None)

    def list_blocked(self, *, after: str = "", limit: int = 1000) -> list[BlockedImage]:
        """A page of blocked images after a SHA-256, in its order.

        Raises:
            ValueError: if the limit is less than 1.
        """
        row = BlockedImageRow
        page = (
            select(row, _is_stored(row.sha256))
            .where(row.sha256 > after)
            .order_by(row.sha256)
            .limit(check_limit(limit))
        )
        with self.database.session() as session:
            return [
                _record(each, is_unfinished=is_stored) for each, is_stored in session.execute(page)
            ]

    def blocked_among(self, sha256s: Iterable[str]) -> frozenset[str]:
        """Those of these images that are blocked.

        Args:
            sha256s: read only if any image is blocked, for digests take time to compute.
        """
        first = select(BlockedImageRow.sha256).limit(1)
        with self.database.glance() as connection:
            if connection.scalar(first) is None:
                return frozenset()
        asked = list(sha256s)
        with self.database.session() as session:
            return _blocked_among(session, asked)

    def mark(self) -> BlockMark:
        """Read the mark as it is now."""
        row = BlockedImageRow
        query = select(
            func.count(row.sha256), func.max(row.blocked_at), func.count(ImageRow.sha256)
        ).outerjoin_from(row, ImageRow, ImageRow.sha256 == row.sha256)
        with self.database.session() as session:
            return BlockMark(*session.execute(query).one())

    def _take_down(self, sha256: str, *, of_block: bool) -> Takedown:
        taken, is_over = Takedown(), False
        while not is_over:
            with self.database.writing() as session:
                lock_blobs(session, exclusive=True)
                if of_block and not _blocked_among(session, [sha256]):
                    break
                part, images, is_over = _take_part_down(session, sha256)
            remove_blobs(self.database, self.blobs, images)
            taken += part
        remove_blobs(self.database, self.blobs, [sha256])
        return taken

    def _is_stored(self, sha256: str) -> bool:
        with self.database.session() as session:
            if session.get(ImageRow, sha256) is not None:
                return True
        return self.blobs.exists(sha256)  # a takedown may have been interrupted


def refuse_blocked(session: Session, sha256s: Sequence[str]) -> None:
    """Pass only when none of these images is blocked.

    Args:
        session: of a writing transaction that has locked the blobs.
        sha256s: what is to be stored.

    Raises:
        ImageBlocked: if some are; names them.
    """
    blocked = sorted(_blocked_among(session, sha256s))
    if blocked:
        named = ", ".join(blocked[:_NUM_NAMED])
        more = f" and {len(blocked) - _NUM_NAMED} more" if len(blocked) > _NUM_NAMED else ""
        raise ImageBlocked(
            f"images that were taken down are not stored, got {named}{more}: leave the choice out;"
            " the operator accepts them again with `recsys images unblock`",
            sha256s=tuple(blocked),
        )


def _blocked_among(session: Session, sha256s: Sequence[str]) -> frozenset[str]:
    blocked: set[str] = set()
    for part in parts(sha256s):
        query = select(BlockedImageRow.sha256).where(BlockedImageRow.sha256.in_(part))
        blocked |= set(session.scalars(query))
    return frozenset(blocked)


def _take_part_down(session: Session, sha256: str) -> tuple[Takedown, list[str], bool]:
    """Take an image out of some of the choices that show it.

    Returns:
        What went, the digests of images whose rows went, and whether no choice shows it any more.
    """
    liked = _liking(session, sha256)
    passed = _passing_over(session, sha256)
    user_ids = sorted({*liked.values(), *passed.values()})
    hold_revisions(session, user_ids)
    is_in = PassedOverRow.choice_id.in_(list(passed))
    session.execute(delete(PassedOverRow).where(is_in, PassedOverRow.sha256 == sha256))
    emptied = _emptied(session, list(passed))
    others = remove_choices(session, [*liked, *emptied])
    outdate(session, user_ids)
    _show_no_more(session, sha256)
    forget_pairs(session, others)
    gone = remove_unnamed(session, {sha256, *others})
    part = Takedown(
        num_choices=len(liked) + len(emptied),
        num_shortened=len(passed) - len(emptied),
        num_images=len(gone),
        num_bytes=sum(gone.values()),
    )
    return part, list(gone), max(len(liked), len(passed)) < CHOICES_AT_ONCE


def _outdate_all(session: Session, sha256: str) -> None:
    """Outdate the histories of all who have a choice that shows an image."""
    liking = select(ChoiceRow.user_id).where(ChoiceRow.liked == sha256)
    passing = (
        select(ChoiceRow.user_id)
        .join(PassedOverRow, PassedOverRow.choice_id == ChoiceRow.choice_id)
        .where(PassedOverRow.sha256 == sha256)
    )
    user_ids = sorted({*session.scalars(liking), *session.scalars(passing)})
    hold_revisions(session, user_ids)
    for part in parts(user_ids):
        outdate(session, part)


def _show_no_more(session: Session, sha256: str) -> None:
    """Take an image out of clusters and first questions."""
    session.execute(delete(ClusterImageRow).where(ClusterImageRow.sha256 == sha256))
    forget_image(session, sha256)


def _liking(session: Session, sha256: str) -> dict[int, str]:
    """Some choices that like an image, and whose they are."""
    query = select(ChoiceRow.choice_id, ChoiceRow.user_id).where(ChoiceRow.liked == sha256)
    rows = session.execute(query.limit(CHOICES_AT_ONCE))
    return {choice_id: user_id for choice_id, user_id in rows}  # noqa: C416


def _passing_over(session: Session, sha256: str) -> dict[int, str]:
    """Some choices that pass an image over, and whose they are."""
    query = (
        select(ChoiceRow.choice_id, ChoiceRow.user_id)
        .join(PassedOverRow, PassedOverRow.choice_id == ChoiceRow.choice_id)
        .where(PassedOverRow.sha256 == sha256)
    )
    rows = session.execute(query.limit(CHOICES_AT_ONCE))
    return {choice_id: user_id for choice_id, user_id in rows}  # noqa: C416


def _emptied(session: Session, choice_ids: Sequence[int]) -> list[int]:
    """Those of these choices that neither like nor pass over an image any more."""
    is_left = select(PassedOverRow.sha256).where(PassedOverRow.choice_id == ChoiceRow.choice_id)
    query = select(ChoiceRow.choice_id).where(
        ChoiceRow.choice_id.in_(choice_ids), ChoiceRow.liked.is_(None), ~is_left.exists()
    )
    return list(session.scalars(query))


def _is_stored(sha256: InstrumentedAttribute[str]) -> ColumnElement[bool]:
    return select(ImageRow.sha256).where(ImageRow.sha256 == sha256).exists()


def _record(row: BlockedImageRow, *, is_unfinished: bool) -> BlockedImage:
    return BlockedImage(row.sha256, row.blocked_at, row.blocked_by, row.reason, is_unfinished)
