"""Signature vectors by user, model version and history revision."""

from datetime import UTC, datetime

import numpy as np
from sqlalchemy import select

from storage.database import Database
from storage.errors import InvalidRecord, UnknownUser
from storage.records import Signature
from storage.rules import check_signature, check_user_id
from storage.tables import SignatureRow, UserRow

_FORMAT = np.dtype("<f4")


class SignatureStore:
    """One vector a user and model version: the newest.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def put(self, signature: Signature) -> None:
        """Store a vector, unless one of a later revision is there.

        Raises:
            InvalidRecord: if it breaks a rule, or is of a revision the user has not reached, as one
                is that was computed before the user was erased and came again.
            UnknownUser: if there is no such user (any more).
        """
        check_signature(signature)
        with self.database.writing() as session:
            user = select(UserRow.revision).where(UserRow.user_id == signature.user_id)
            reached = session.scalar(user.with_for_update())
            if reached is None:
                raise UnknownUser(f"no user {signature.user_id!r} is stored: record a choice first")
            if not 0 <= signature.revision <= reached:
                raise InvalidRecord(
                    f"the user is at revision {reached}, got a signature of {signature.revision}:"
                    " compute it anew"
                )
            row = session.get(SignatureRow, (signature.user_id, signature.model_version))
            if row is None:
                row = SignatureRow(
                    user_id=signature.user_id, model_version=signature.model_version, revision=0
                )
                session.add(row)
            if signature.revision >= row.revision:
                row.revision = signature.revision
                row.vector = signature.vector.astype(_FORMAT).tobytes()
                row.created_at = datetime.now(UTC)

    def get(self, user_id: str, model_version: str) -> Signature | None:
        """A user's vector under a model version, if there is one."""
        check_user_id(user_id)
        with self.database.session() as session:
            row = session.get(SignatureRow, (user_id, model_version))
        if row is None:
            return None
        vector = np.frombuffer(row.vector, dtype=_FORMAT).astype(np.float32)
        return Signature(user_id, model_version, row.revision, vector)
