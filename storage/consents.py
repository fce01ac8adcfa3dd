"""What people let be done with their choices: rank by them, and learn from them.

Both are allowed until somebody says otherwise, also before a first choice is stored.
"""

from datetime import UTC, datetime

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from storage.coldstart.first_questions import forget_pairs
from storage.database import Database
from storage.erasing import images_named, leave_clusters
from storage.errors import PersonalizationOff
from storage.identity_keys import NO_KEYS, KeySource
from storage.records import Consent
from storage.rules import check_user_id
from storage.statements import insert_into, lock_blobs
from storage.tables import BackfillRow, SignatureRow, UserRow
from storage.tombstones import refuse_erased


class ConsentStore:
    """Each user's consent.

    Args:
        database: with a current schema.
        keys: tell who was erased, and whose consent is not stored before they are restored.
    """

    def __init__(self, database: Database, keys: KeySource = NO_KEYS) -> None:
        self.database = database
        self._keys = keys

    def get(self, user_id: str) -> Consent:
        """Return what a user allows; everything for an unknown one."""
        check_user_id(user_id)
        query = select(UserRow.personalize, UserRow.learn_from).where(UserRow.user_id == user_id)
        with self.database.glance() as connection:
            row = connection.execute(query).one_or_none()
        return Consent() if row is None else Consent(*row)

    def personalizes(self, user_id: str) -> bool:
        """Whether a user lets rankings and signatures be made from their choices."""
        return self.get(user_id).personalize

    def check(self, user_id: str) -> None:
        """Pass only if a user lets rankings and signatures be made from their choices.

        Raises:
            PersonalizationOff: otherwise.
        """
        if not self.personalizes(user_id):
            raise PersonalizationOff(user_id)

    def update(
        self, user_id: str, *, personalize: bool | None = None, learn_from: bool | None = None
    ) -> Consent:
        """Change what a user allows, in one transaction with what follows from it.

        With `personalize` False, the user's signatures, entries in the ledger of backfills and
        cluster memberships are removed, and no new ones are stored. With `learn_from` False,
        cluster memberships go, and the first questions that show images of the user's choices
        alone. Choices stay.

        Args:
            user_id: who; is stored without a choice if unknown.
            personalize: rank by the user's choices, and read signatures; None: as it is.
            learn_from: learn from them what others see; None: as it is.

        Returns:
            What the user allows now.

        Raises:
            InvalidRecord: if no user could have this id.
            UserErased: if the user was erased; IdentityKeyMissing if nobody can tell.
        """
        check_user_id(user_id)
        keys = self._keys.known()
        with self.database.writing() as session:
            if personalize is False or learn_from is False:
                lock_blobs(session, exclusive=True)  # as an erasure: no run ends meanwhile
            row = _held(session, user_id)
            refuse_erased(session, [user_id], keys)
            if personalize is not None:
                row.personalize = personalize
            if learn_from is not None:
                row.learn_from = learn_from
            session.flush()
            if personalize is False:
                _forget_signatures(session, user_id)
            if learn_from is False:
                leave_clusters(session, user_id)
                forget_pairs(session, images_named(session, user_id))
            return Consent(row.personalize, row.learn_from)


def _held(session: Session, user_id: str) -> UserRow:
    """The user's row, added if there is none, and locked."""
    new = {"user_id": user_id, "revision": 0, "created_at": datetime.now(UTC)}
    session.execute(insert_into(session, UserRow).values(**new).on_conflict_do_nothing())
    held = select(UserRow).where(UserRow.user_id == user_id).with_for_update()
    return session.scalars(held).one()


def _forget_signatures(session: Session, user_id: str) -> None:
    session.execute(delete(SignatureRow).where(SignatureRow.user_id == user_id))
    session.execute(delete(BackfillRow).where(BackfillRow.user_id == user_id))
    leave_clusters(session, user_id)
