"""Append choices, read a user's history and its revision, erase a user or let one come back.

`storage.erasing` explains in which order an image's row and bytes are written and removed.
"""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import replace

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from storage.appending import append_all, stored_choice
from storage.blobs import BlobStore
from storage.database import Database
from storage.erasing import erase_rows, remove_blobs
from storage.errors import AlreadyErased, StorageError, UnknownImage, UnknownUser, UserErased
from storage.identity_keys import NO_KEYS, KeySource
from storage.records import (
    Appended,
    Choice,
    Consent,
    Erased,
    History,
    ImageFacts,
    NewImages,
    StoredChoice,
    Tombstone,
    UserSummary,
)
from storage.rules import check_choice, check_limit, check_user_id, is_sha256
from storage.statements import STANDS, is_blocked, lock_blobs, parts
from storage.tables import ChoiceRow, ImageRow, PassedOverRow, UserRow
from storage.tombstones import bury, check_by, find_tombstone, lift, refuse_erased, renew

_MAX_CHOICE_ID = 2**63 - 1


class HistoryStore:
    """Users' choices in SQL, and the images that they chose from as blobs.

    Args:
        database: with a current schema.
        blobs: where image bytes go.
        keys: tell who was erased. Without any nobody can be erased, and nothing is stored where
            somebody was.
    """

    def __init__(self, database: Database, blobs: BlobStore, keys: KeySource = NO_KEYS) -> None:
        self.database = database
        self.blobs = blobs
        self.keys = keys

    def append(
        self, choice: Choice, images: NewImages | None = None, *, shareable: bool = False
    ) -> Appended:
        """Store one choice in a transaction of its own; see `append_many`."""
        return self.append_many([(choice, images or {})], shareable=shareable)[0]

    def append_many(
        self, items: Sequence[tuple[Choice, NewImages]], *, shareable: bool = False
    ) -> list[Appended]:
        """Store choices in one transaction: all or none.

        Each choice gets its user's next revision. A choice whose (user, request_id) is stored
        already is not stored again: the stored one is returned, marked `repeated`.

        Args:
            items: choices, each with the images that may not be stored yet, by SHA-256.
            shareable: mark the images that they name as such, also those stored before: other
                users may be shown them. False leaves marks as they are.

        Raises:
            InvalidRecord: if a choice breaks a rule, or an image does not match its facts.
            UnknownImage: if a choice names an image that is neither given nor stored.
            UserErased: if a choice is of a user who was erased.
            ImageBlocked: if a choice shows an image that was taken down and is blocked.
            IdentityKeyMissing: if nobody can tell, because a key is not given.
            StorageFull: if there is no room left.
        """
        for choice, _ in items:
            check_choice(choice)
        keys = self.keys.known()
        try:
            with self.database.writing() as session:
                lock_blobs(session, exclusive=False)
                return append_all(session, self.blobs, items, keys, shareable=shareable)
        except UserErased as error:
            with suppress(StorageError), self.database.writing() as session:
                renew(session, error.user_ids, keys)
            raise

    def read(self, user_id: str, *, limit: int | None = None) -> History:
        """A user's newest choices, oldest first; none, and revision 0, for an unknown user.

        They are without blocked images, as the takedown leaves them, also while it is not over.

        Args:
            user_id: whose.
            limit: the most choices to return, at least 1; all by default.

        Raises:
            InvalidRecord: if the user id breaks its rule.
            ValueError: if the limit is less than 1.
        """
        check_user_id(user_id)
        newest = (
            select(ChoiceRow)
            .where(ChoiceRow.user_id == user_id, STANDS)
            .order_by(ChoiceRow.revision.desc())
            .limit(check_limit(limit))
        )
        with self.database.session() as session:
            rows = session.scalars(newest).all()
            choices = tuple(_stored(session, rows[::-1]))
            revision = _revision(session, user_id)
        return History(user_id, revision, choices)

    def revision(self, user_id: str) -> int:
        """A user's revision, as of `History`; 0 for an unknown one."""
        check_user_id(user_id)
        with self.database.session() as session:
            return _revision(session, user_id)

    def user(self, user_id: str) -> UserSummary:
        """Counts and times of a user's history.

        Raises:
            UnknownUser: if there is no such user.
        """
        choices = select(func.count(), func.max(ChoiceRow.chosen_at)).where(
            ChoiceRow.user_id == user_id
        )
        pairs = (
            select(func.count())
            .select_from(PassedOverRow)
            .join(ChoiceRow, ChoiceRow.choice_id == PassedOverRow.choice_id)
            .where(ChoiceRow.user_id == user_id, ChoiceRow.liked.is_not(None))
        )
        with self.database.session() as session:
            row = _known_user(session, user_id)
            num_choices, last = session.execute(choices).one()
            num_pairs = session.scalar(pairs) or 0
        consent = Consent(row.personalize, row.learn_from)
        return UserSummary(
            user_id, row.revision, num_choices, num_pairs, row.created_at, last, consent
        )

    def list_choices(
        self, user_id: str, *, after_choice_id: int = 0, limit: int
    ) -> list[StoredChoice]:
        """A page of a user's choices, as `read` has them, after `after_choice_id`.

        Raises:
            UnknownUser: if there is no such user.
            ValueError: if the limit is less than 1.
        """
        after = max(0, min(after_choice_id, _MAX_CHOICE_ID))
        # A user's revisions and choice ids have the same order; revisions have the index.
        seen = select(ChoiceRow.revision).where(
            ChoiceRow.choice_id == after, ChoiceRow.user_id == user_id
        )
        page = (
            select(ChoiceRow)
            .where(
                ChoiceRow.user_id == user_id,
                ChoiceRow.revision > func.coalesce(seen.scalar_subquery(), 0),
                ChoiceRow.choice_id > after,
                STANDS,
            )
            .order_by(ChoiceRow.revision)
            .limit(check_limit(limit))
        )
        with self.database.session() as session:
            _known_user(session, user_id)
            return _stored(session, session.scalars(page).all())

    def revisions_of(self, choice_ids: Collection[int]) -> dict[int, int]:
        """Revisions of the users of some choices, by choice id; of those that are stored."""
        known: dict[int, int] = {}
        query = select(ChoiceRow.choice_id, UserRow.revision).join(
            UserRow, UserRow.user_id == ChoiceRow.user_id
        )
        with self.database.session() as session:
            for part in parts(sorted(choice_ids)):
                rows = session.execute(query.where(ChoiceRow.choice_id.in_(part)))
                known |= {choice_id: revision for choice_id, revision in rows}  # noqa: C416
        return known

    def user_ids(self, *, after: str = "", limit: int = 1000, learnable: bool = False) -> list[str]:
        """A page of user ids after `after`, in code point order.

        Args:
            after: the last id of the page before.
            limit: the most ids to return, at least 1.
            learnable: leave out users who do not want to be learned from.
        """
        page = (
            select(UserRow.user_id)
            .where(UserRow.user_id > after)
            .order_by(UserRow.user_id)
            .limit(check_limit(limit))
        )
        if learnable:
            page = page.where(UserRow.learn_from)
        with self.database.session() as session:
            return list(session.scalars(page))

    def image(self, sha256: str) -> bytes:
        """A stored image's bytes.

        Raises:
            UnknownImage: if no stored image has this digest.
        """
        return self.blobs.get(sha256)

    def image_facts(self, sha256: str) -> ImageFacts:
        """What is known of a stored image.

        Raises:
            UnknownImage: if no stored image has this digest.
        """
        with self.database.session() as session:
            row = session.get(ImageRow, sha256) if is_sha256(sha256) else None
        if row is None:
            raise UnknownImage(f"no image {sha256[:80]} is stored: send its bytes")
        return ImageFacts(row.sha256, row.media_type, row.width, row.height, row.num_bytes)

    def erase(self, user_id: str, *, by: str = "") -> Erased:
        """Remove a user's choices and signatures, and images that no other user's choices name.

        Rows are removed in one transaction, which leaves a tombstone: the user is not stored again
        before `restore`. The images' bytes are removed right after it.

        Args:
            user_id: who.
            by: who asks for it, at most 256 characters; stored with the tombstone.

        Raises:
            UnknownUser: if there is no such user; AlreadyErased if the user was erased before.
            IdentityKeyMissing: if there is no key to write a tombstone with.
        """
        check_user_id(user_id)
        check_by(by)
        with self.database.writing() as session:
            try:
                erased, images = erase_rows(session, user_id)
            except UnknownUser as error:
                tombstone = find_tombstone(session, user_id, self.keys.known())
                if tombstone is None:
                    raise
                raise AlreadyErased(_erased_before(user_id, tombstone)) from error
            bury(session, user_id, self.keys.needed(), by=by)
        remove_blobs(self.database, self.blobs, images)
        return replace(erased, images=tuple(images))

    def tombstone(self, user_id: str) -> Tombstone | None:
        """When and by whom a user was erased; None if they were not, as far as the keys tell."""
        check_user_id(user_id)
        with self.database.session() as session:
            return find_tombstone(session, user_id, self.keys.known())

    def check_storable(self, user_id: str) -> None:
        """Pass only if choices of a user would be stored.

        Raises:
            UserErased: if the user was erased; IdentityKeyMissing if nobody can tell.
        """
        check_user_id(user_id)
        with self.database.session() as session:
            refuse_erased(session, [user_id], self.keys.known())

    def restore(self, user_id: str) -> Tombstone:
        """Let an erased user be stored again; what was erased stays erased.

        Returns:
            When and by whom the user had been erased.

        Raises:
            NotErased: if the user was not erased.
            IdentityKeyMissing: if nobody can tell, because a key is not given.
        """
        check_user_id(user_id)
        with self.database.writing() as session:
            return lift(session, user_id, self.keys.known())


def _erased_before(user_id: str, tombstone: Tombstone) -> str:
    by = f" by {tombstone.erased_by}" if tombstone.erased_by else ""
    return (
        f"user {user_id!r} was erased on {tombstone.erased_at:%Y-%m-%d at %H:%M} UTC{by}:"
        " there is nothing to erase"
    )


def _revision(session: Session, user_id: str) -> int:
    query = select(UserRow.revision).where(UserRow.user_id == user_id)
    return session.scalar(query) or 0


def _known_user(session: Session, user_id: str) -> UserRow:
    check_user_id(user_id)
    row = session.get(UserRow, user_id)
    if row is None:
        raise UnknownUser(
            f"there is no user {user_id!r}: check the id; a user is stored with their first choice"
        )
    return row


def _stored(session: Session, rows: Sequence[ChoiceRow]) -> list[StoredChoice]:
    passed: dict[int, list[str]] = {row.choice_id: [] for row in rows}
    ids = list(passed)
    for part in parts(ids):
        query = (
            select(PassedOverRow.choice_id, PassedOverRow.sha256)
            .where(PassedOverRow.choice_id.in_(part), ~is_blocked(PassedOverRow.sha256))
            .order_by(PassedOverRow.choice_id, PassedOverRow.position)
        )
        for choice_id, sha256 in session.execute(query):
            passed[choice_id].append(sha256)
    return [stored_choice(row, passed[row.choice_id]) for row in rows]
