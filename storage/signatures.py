"""Signatures by user, model version and revision; indexes are built from them."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from sqlalchemy import and_, func, or_, select, text
from sqlalchemy.orm import Session

from storage.database import Database
from storage.errors import InvalidRecord, PersonalizationOff, UnknownUser
from storage.records import Signature, SignatureBatch, VersionSummary
from storage.rules import check_limit, check_signature, check_user_id
from storage.statements import (
    MAX_VALUES,
    MAY_BE_SIGNED,
    hold_revisions,
    parts,
    put_newer,
)
from storage.tables import ChoiceRow, SignatureCounterRow, SignatureRow, UserRow

_FORMAT = np.dtype("<f4")
_USERS_AT_ONCE = 200  # of one OR, well under SQLite's limit on the depth of an expression


class SignatureStore:
    """The newest vector of each user and model version.

    Every put gets the model version's next sequence, under a lock that is held until the
    transaction ends, so that a reader who has seen one sequence has seen all before it.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def put(self, signature: Signature) -> None:
        """Store a vector, unless one of a later revision is stored.

        Raises:
            InvalidRecord: if it breaks a rule, or is of another dimension than those stored under
                its model version, or of a revision that the user has not reached, because it was
                computed before the user was erased and returned, or of one after which something
                was removed from the user's choices, so that it may be read from what is gone.
            UnknownUser: if there is no such user.
            PersonalizationOff: if the user does not want to be personalised.
        """
        check_signature(signature)
        user_id = signature.user_id
        with self.database.writing() as session:
            reached = hold_revisions(session, [user_id], is_personal=True).get(user_id)
            if reached is None and session.get(UserRow, user_id) is not None:
                raise PersonalizationOff(user_id)
            if reached is None:
                raise UnknownUser(f"no user {user_id!r} is stored: record a choice first")
            if not 0 <= signature.revision <= reached:
                raise InvalidRecord(
                    f"the user is at revision {reached}, got a signature of {signature.revision}:"
                    " compute it anew"
                )
            if not _still_true(session, [signature], {user_id: reached}):
                raise InvalidRecord(
                    f"choices were removed since revision {signature.revision}, of which the"
                    " signature is: compute it anew"
                )
            _put_newer(session, [signature])

    def put_many(self, signatures: Sequence[Signature]) -> list[str]:
        """Store vectors of one model version in one transaction, unless later ones are stored.

        Args:
            signatures: each user once.

        Returns:
            Users left out, because they were erased, or erased and returned, or something was
            removed from their choices, meanwhile, or do not want to be personalised.

        Raises:
            InvalidRecord: if one breaks a rule, or is of another dimension; none is stored.
            ValueError: if a user comes twice or model versions differ.
        """
        for signature in signatures:
            check_signature(signature)
        by_user = {signature.user_id: signature for signature in signatures}
        if len(by_user) < len(signatures) or len({s.model_version for s in signatures}) > 1:
            raise ValueError("signatures must be of one model version and of each user once")
        if not signatures:
            return []
        with self.database.writing() as session:
            reached = hold_revisions(session, sorted(by_user), is_personal=True)
            known = [s for s in signatures if 0 <= s.revision <= reached.get(s.user_id, -1)]
            fit = _still_true(session, known, reached)
            _put_newer(session, fit)
        stored = {signature.user_id for signature in fit}
        return [user_id for user_id in by_user if user_id not in stored]

    def get(self, user_id: str, model_version: str) -> Signature | None:
        """Return a user's vector under a model version, or None."""
        check_user_id(user_id)
        with self.database.session() as session:
            row = session.get(SignatureRow, (user_id, model_version))
        if row is None:
            return None
        return Signature(user_id, model_version, row.revision, _vectors([row.vector])[0].copy())

    def count(self, model_version: str) -> int:
        """Return the number of users with a vector under a model version."""
        query = select(func.count()).where(SignatureRow.model_version == model_version)
        with self.database.session() as session:
            return session.scalar(query) or 0

    def last_sequence(self, model_version: str) -> int:
        """Return the last sequence given under a model version; 0 if there is none."""
        with self.database.session() as session:
            row = session.get(SignatureCounterRow, model_version)
        return 0 if row is None else row.last_sequence

    def changes(
        self, model_version: str, *, after: int, limit: int, learnable: bool = False
    ) -> SignatureBatch:
        """Return the vectors stored after a sequence, in order; only the newest of each user.

        Args:
            model_version: of the vectors.
            after: the last sequence known; 0 for all.
            limit: the most to return, at least 1.
            learnable: leave out users who do not want to be learned from.
        """
        row = SignatureRow
        query = (
            select(row.user_id, row.sequence, row.revision, row.vector)
            .where(row.model_version == model_version, row.sequence > after)
            .order_by(row.sequence)
            .limit(check_limit(limit))
        )
        if learnable:
            query = query.join(UserRow, and_(UserRow.user_id == row.user_id, UserRow.learn_from))
        with self.database.session() as session:
            rows = session.execute(query).all()
        return SignatureBatch(
            tuple(row.user_id for row in rows),
            np.array([row.sequence for row in rows], dtype=np.int64),
            np.array([row.revision for row in rows], dtype=np.int64),
            _vectors([row.vector for row in rows]),
        )

    def sequences(self, model_version: str, user_ids: Sequence[str]) -> dict[str, int]:
        """Return the sequences of these users' vectors; users without a vector are absent."""
        sequences: dict[str, int] = {}
        # Every search does this, and SQLAlchemy would take twice as long as SQL itself.
        mark = "?" if self.database.is_sqlite else "%s"
        for part in parts(user_ids):
            marks = ", ".join([mark] * len(part))
            query = (
                "SELECT user_id, sequence FROM signatures"
                f" WHERE model_version = {mark} AND user_id IN ({marks})"
            )
            with self.database.glance() as connection:
                rows = connection.exec_driver_sql(query, (model_version, *part)).all()
            sequences |= {user_id: sequence for user_id, sequence in rows}  # noqa: C416
        return sequences

    def stale(
        self, model_version: str, *, after: str = "", limit: int = 1000
    ) -> list[tuple[str, int]]:
        """Return users whose vector is missing or older than their newest choice: id and revision.

        Users without a choice, and those who do not want to be personalised, need none.

        Args:
            model_version: of the vectors.
            after: only users after this id, by code point.
            limit: the most to return, at least 1.
        """
        row = SignatureRow
        is_theirs = and_(row.user_id == UserRow.user_id, row.model_version == model_version)
        page = (
            select(UserRow.user_id, UserRow.revision)
            .outerjoin(row, is_theirs)
            .where(UserRow.user_id > after, func.coalesce(row.revision, -1) < UserRow.revision)
            .where(*MAY_BE_SIGNED)
            .order_by(UserRow.user_id)
            .limit(check_limit(limit))
        )
        with self.database.session() as session:
            return [(user_id, revision) for user_id, revision in session.execute(page)]

    def summaries(self) -> list[VersionSummary]:
        """Summarise what is stored by model version, the newest first."""
        row = SignatureRow
        query = (
            select(row.model_version, func.count(), func.max(row.created_at))
            .group_by(row.model_version)
            .order_by(func.max(row.created_at).desc(), row.model_version)
        )
        with self.database.session() as session:
            return [VersionSummary(*row) for row in session.execute(query)]


def _still_true(
    session: Session, signatures: Sequence[Signature], reached: dict[str, int]
) -> list[Signature]:
    """Those of users from whose choices nothing was removed since the signature's revision.

    Each choice takes a revision, and so does each removal, which leaves no choice of it. So nothing
    was removed since revision R where as many choices of later revisions are stored as there were
    later revisions.

    Args:
        session: of a writing transaction that has locked the users.
        signatures: of revisions that their users have reached; each user once.
        reached: revisions by user.
    """
    behind = [each for each in signatures if each.revision < reached[each.user_id]]
    num_since: dict[str, int] = {}
    for part in parts(behind, _USERS_AT_ONCE):
        later = [
            and_(ChoiceRow.user_id == each.user_id, ChoiceRow.revision > each.revision)
            for each in part
        ]
        query = select(ChoiceRow.user_id, func.count()).where(or_(*later))
        rows = session.execute(query.group_by(ChoiceRow.user_id))
        num_since |= {user_id: number for user_id, number in rows}  # noqa: C416
    return [
        each
        for each in signatures
        if each.revision + num_since.get(each.user_id, 0) == reached[each.user_id]
    ]


def _put_newer(session: Session, signatures: Sequence[Signature]) -> None:
    """Store those of which no later revision is stored; of one model version, users locked."""
    if not signatures:
        return
    version = signatures[0].model_version
    begun = _begin_sequence(session, version, len(signatures))
    _check_dimension(session, signatures)
    now = datetime.now(UTC)
    for start in range(0, len(signatures), MAX_VALUES):
        rows = [
            {
                "user_id": signature.user_id,
                "model_version": version,
                "revision": signature.revision,
                "vector": signature.vector.astype(_FORMAT).tobytes(),
                "created_at": now,
                "sequence": begun + start + place,
            }
            for place, signature in enumerate(signatures[start : start + MAX_VALUES], start=1)
        ]
        put_newer(session, SignatureRow, rows, ("revision", "vector", "created_at", "sequence"))


def _check_dimension(session: Session, signatures: Sequence[Signature]) -> None:
    """Check that all vectors of a model version have one length; other writers wait."""
    row, version = SignatureRow, signatures[0].model_version
    any_one = select(func.length(row.vector)).where(row.model_version == version)
    num_bytes = session.scalar(any_one.order_by(row.sequence).limit(1))
    expected = num_bytes // _FORMAT.itemsize if num_bytes else signatures[0].vector.size
    for signature in signatures:
        if signature.vector.size != expected:
            raise InvalidRecord(
                f"signatures of model version {version} must have shape ({expected},), got"
                f" {signature.vector.shape}: compute it with that version's checkpoint"
            )


def _begin_sequence(session: Session, model_version: str, count: int) -> int:
    """Reserve `count` sequences; other writers of this version wait until the transaction ends."""
    added = "INSERT INTO signature_counters VALUES (:version, 0) ON CONFLICT DO NOTHING"
    session.execute(text(added), {"version": model_version})
    held = select(SignatureCounterRow).where(SignatureCounterRow.model_version == model_version)
    counter = session.scalars(held.with_for_update()).one()
    begun = counter.last_sequence
    counter.last_sequence = begun + count
    session.flush()
    return begun


def _vectors(stored: Sequence[bytes]) -> np.ndarray[Any, np.dtype[np.float32]]:
    if not stored:
        return np.zeros((0, 0), dtype=np.float32)
    flat = np.frombuffer(b"".join(stored), dtype=_FORMAT).astype(np.float32)
    return flat.reshape(len(stored), -1)
