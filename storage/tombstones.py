"""Tombstones: who was erased and must not come back, as keyed digests that name nobody.

An erasure writes one in its own transaction. An append looks for them after it has locked its
users, so that one which waited for an erasure sees what that has written. `restore` lifts one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import delete, func, select, update
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import IdentityKeyMissing, NotErased, UserErased
from storage.identity_keys import IdentityKey, IdentityKeys
from storage.records import Tombstone
from storage.rules import check_text
from storage.statements import parts
from storage.tables import TombstoneRow

MAX_BY_CHARS = 256
_PURPOSE = "tombstone"
_NUM_NAMED = 3


@dataclass(frozen=True, slots=True)
class ErasureMark:
    """What tells that somebody was erased since: it is another one then.

    Attributes:
        num_tombstones: how many there are.
        newest_at: when the last of them was written, UTC; None where there is none.
    """

    num_tombstones: int
    newest_at: datetime | None


NOBODY_ERASED = ErasureMark(0, None)


def erasure_mark(database: Database) -> ErasureMark:
    """Read the mark as it is now."""
    query = select(func.count(), func.max(TombstoneRow.erased_at))
    with database.session() as session:
        num_tombstones, newest_at = session.execute(query).one()
    return ErasureMark(num_tombstones, newest_at)


def check_by(by: str) -> None:
    """Whoever erases is told by at most 256 characters.

    Raises:
        InvalidRecord: otherwise.
    """
    check_text("by", by, at_most=MAX_BY_CHARS)


def bury(session: Session, user_id: str, keys: IdentityKeys, *, by: str) -> None:
    """Write the tombstone of a user whose rows go in the same transaction; there is but one."""
    key = keys.current
    _remove(session, user_id, keys)
    session.add(
        TombstoneRow(
            digest=_digest(key, user_id),
            key_id=key.key_id,
            erased_at=datetime.now(UTC),
            erased_by=by,
        )
    )


def find_tombstone(session: Session, user_id: str, keys: IdentityKeys) -> Tombstone | None:
    """The tombstone of a user under any of the keys."""
    row = _rows(session, [user_id], keys).get(user_id)
    return None if row is None else _record(row)


def refuse_erased(session: Session, user_ids: Sequence[str], keys: IdentityKeys) -> None:
    """Pass only when none of these users was erased.

    Args:
        session: of a writing transaction that has locked them, where it matters that they stay so.
        user_ids: who is to be stored.
        keys: all at hand.

    Raises:
        IdentityKeyMissing: if there are tombstones under a key that is not at hand, for then
            nobody can tell.
        UserErased: if some were; names them.
    """
    if not _check_keys(session, keys):
        return
    erased = sorted(_rows(session, user_ids, keys))
    if erased:
        named = ", ".join(map(repr, erased[:_NUM_NAMED]))
        more = f" and {len(erased) - _NUM_NAMED} more" if len(erased) > _NUM_NAMED else ""
        raise UserErased(
            f"nothing of erased users is stored, got {named}{more}: to let a user come back run"
            " `recsys users restore`",
            user_ids=tuple(erased),
        )


def lift(session: Session, user_id: str, keys: IdentityKeys) -> Tombstone:
    """Remove a user's tombstone, under whichever key it stands.

    Returns:
        What it said.

    Raises:
        NotErased: if the user was not erased, as far as all tombstones can be read.
        IdentityKeyMissing: if none was found, and some are under a key that is not at hand.
    """
    row = _rows(session, [user_id], keys).get(user_id)
    if row is None:
        _check_keys(session, keys)
        raise NotErased(f"user {user_id!r} was not erased: there is nothing to restore")
    _remove(session, user_id, keys)
    return _record(row)


def renew(session: Session, user_ids: Sequence[str], keys: IdentityKeys) -> None:
    """Write tombstones of these users that stand under an older key under the current one."""
    for user_id, row in _rows(session, user_ids, keys).items():
        if row.key_id != keys.current.key_id:
            values = {"digest": _digest(keys.current, user_id), "key_id": keys.current.key_id}
            old = TombstoneRow.digest == row.digest
            session.execute(update(TombstoneRow).where(old).values(**values))


def _digest(key: IdentityKey, user_id: str) -> bytes:
    return key.digest(_PURPOSE, user_id)


def _remove(session: Session, user_id: str, keys: IdentityKeys) -> None:
    digests = [_digest(key, user_id) for key in keys.keys]
    session.execute(delete(TombstoneRow).where(TombstoneRow.digest.in_(digests)))


def _rows(session: Session, user_ids: Sequence[str], keys: IdentityKeys) -> dict[str, TombstoneRow]:
    users = {_digest(key, user_id): user_id for key in keys.keys for user_id in user_ids}
    rows: dict[str, TombstoneRow] = {}
    for part in parts(list(users)):
        for row in session.scalars(select(TombstoneRow).where(TombstoneRow.digest.in_(part))):
            rows[users[row.digest]] = row
    return rows


def _check_keys(session: Session, keys: IdentityKeys) -> bool:
    """Whether there are tombstones; raises IdentityKeyMissing as `refuse_erased`."""
    known = keys.key_ids
    # One step on the index for each key, however many tombstones stand under it.
    first = select(func.min(TombstoneRow.key_id))
    first_key_id = key_id = session.scalar(first)
    while key_id is not None:
        if key_id not in known:
            raise IdentityKeyMissing(
                f"users were erased under the identity key {key_id}, which is not among those given"
                f" ({', '.join(known) or 'none'}): nothing is stored until identity_key names it"
                " too, for erased users could come back"
            )
        key_id = session.scalar(first.where(TombstoneRow.key_id > key_id))
    return first_key_id is not None


def _record(row: TombstoneRow) -> Tombstone:
    return Tombstone(row.erased_at, row.erased_by)
