"""What a person who looks around asks: users by prefix, samples of all of them, who is fresh.

Everything here reads, and reads no more than its limit: it answers as fast on a million users.
"""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, Select, and_, func, select

from storage.database import Database
from storage.rules import check_limit
from storage.tables import ChoiceRow, SignatureRow, UserRow

_LAST_CHARACTER = chr(0x10FFFF)
_HASHES = 2**32
_GOLDEN = 2_654_435_769  # 2**32 over the golden ratio (Knuth, TAOCP 3, 6.4)
_LARGEST_FACTOR = 2**31  # so that the product is a number that SQL can hold


@dataclass(frozen=True, slots=True)
class Window:
    """Which users are meant, by time; None bounds nothing. Until is exclusive.

    Attributes:
        chosen_from: last choice at or after.
        chosen_until: last choice before.
        signed_from: signature made at or after; users without one are then not meant.
        signed_until: signature made before; likewise.
    """

    chosen_from: datetime | None = None
    chosen_until: datetime | None = None
    signed_from: datetime | None = None
    signed_until: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it bounds nothing."""
        return self == Window()


@dataclass(frozen=True, slots=True)
class SeenUser:
    """A user as a list shows them.

    Attributes:
        user_id: who.
        revision: choices ever stored.
        last_choice_at: when they chose last, UTC; None for who never did.
        signed_revision: of the history that their signature was computed from; None: no signature.
        signed_at: when the signature was stored, UTC.
        sequence: under which it was stored; grows with every put under the model version.
    """

    user_id: str
    revision: int
    last_choice_at: datetime | None
    signed_revision: int | None
    signed_at: datetime | None
    sequence: int | None

    @property
    def is_fresh(self) -> bool:
        """Whether there is a signature that knows the newest choice."""
        return self.signed_revision is not None and self.signed_revision >= self.revision


class Browser:
    """Looks around in storage.

    Args:
        database: with a current schema; one opened for reading will do.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def num_users(self) -> int:
        """How many users are stored."""
        with self.database.session() as session:
            return session.scalar(select(func.count()).select_from(UserRow)) or 0

    def users(
        self, prefix: str = "", *, model_version: str, window: Window | None = None, limit: int = 24
    ) -> list[SeenUser]:
        """Users whose id begins with a text, by id.

        Args:
            prefix: as typed, upper and lower case told apart; control characters do not count.
            model_version: whose signatures are told of.
            window: only these users.
            limit: at most so many, at least 1.
        """
        begin = "".join(each for each in prefix if each.isprintable())
        query = _seen(model_version, window or Window()).order_by(UserRow.user_id)
        if begin:
            query = query.where(UserRow.user_id >= begin, UserRow.user_id < begin + _LAST_CHARACTER)
        return self._read(query.limit(check_limit(limit)))

    def user(self, user_id: str, *, model_version: str) -> SeenUser | None:
        """One user, if there is such a one."""
        query = _seen(model_version, Window()).where(UserRow.user_id == user_id)
        users = self._read(query) if user_id.isprintable() else []
        return users[0] if users else None

    def newest(
        self, *, model_version: str, window: Window | None = None, limit: int = 24
    ) -> list[SeenUser]:
        """Users whose signature was stored last, the newest first."""
        query = (
            _seen(model_version, window or Window())
            .where(SignatureRow.model_version == model_version)
            .order_by(SignatureRow.sequence.desc())
        )
        return self._read(query.limit(check_limit(limit)))

    def sample(
        self, *, model_version: str, window: Window | None = None, step: int
    ) -> list[SeenUser]:
        """One user of `step` who have a signature, in the order in which those were stored.

        Args:
            model_version: of the signatures.
            window: only these users.
            step: as `step_for` tells it; 1 is all.
        """
        query = (
            _seen(model_version, window or Window())
            .where(SignatureRow.model_version == model_version, _is_drawn(step))
            .order_by(SignatureRow.sequence)
        )
        return self._read(query)

    def sample_vectors(
        self, *, model_version: str, step: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """The sequences, shape (N,), and vectors, shape (N, E), of the same sample."""
        row = SignatureRow
        query = (
            select(row.sequence, row.vector)
            .where(row.model_version == model_version, _is_drawn(step))
            .order_by(row.sequence)
        )
        with self.database.session() as session:
            rows = session.execute(query).all()
        sequences = np.array([each.sequence for each in rows], dtype=np.int64)
        if not rows:
            return sequences, np.zeros((0, 0), dtype=np.float32)
        flat = np.frombuffer(b"".join(each.vector for each in rows), dtype="<f4")
        return sequences, flat.astype(np.float32).reshape(len(rows), -1)

    def _read(self, query: Select[*tuple[Any, ...]]) -> list[SeenUser]:
        with self.database.session() as session:
            return [SeenUser(*row) for row in session.execute(query)]


def step_for(num_signatures: int, limit: int) -> int:
    """The smallest power of two such that one signature of so many makes about `limit` at most.

    A power of two, so that the sample stays the same while users come and go.

    Raises:
        ValueError: if the limit is less than 1.
    """
    check_limit(limit)
    return 1 << max(0, math.ceil(math.log2(max(num_signatures, 1) / limit)))


def _is_drawn(step: int) -> ColumnElement[bool]:
    """Whether a signature is in the sample: one of `step` is, spread by the golden ratio.

    Every 16th by number would miss whatever recurs among them with a like period.
    """
    spread = (SignatureRow.sequence % _LARGEST_FACTOR) * _GOLDEN % _HASHES
    return spread < _HASHES // step


def _seen(model_version: str, window: Window) -> Select[*tuple[Any, ...]]:
    """Users with their last choice and their signature, where there are such."""
    # A user's revision is that of the newest choice, so an index leads straight to it.
    newest = and_(ChoiceRow.user_id == UserRow.user_id, ChoiceRow.revision == UserRow.revision)
    signed = and_(
        SignatureRow.user_id == UserRow.user_id, SignatureRow.model_version == model_version
    )
    query: Select[*tuple[Any, ...]] = (
        select(
            UserRow.user_id,
            UserRow.revision,
            ChoiceRow.chosen_at,
            SignatureRow.revision,
            SignatureRow.created_at,
            SignatureRow.sequence,
        )
        .outerjoin(ChoiceRow, newest)
        .outerjoin(SignatureRow, signed)
    )
    bounds = [
        (window.chosen_from, ChoiceRow.chosen_at.__ge__),
        (window.chosen_until, ChoiceRow.chosen_at.__lt__),
        (window.signed_from, SignatureRow.created_at.__ge__),
        (window.signed_until, SignatureRow.created_at.__lt__),
    ]
    meant = query.where(*(holds(bound) for bound, holds in bounds if bound is not None))
    return meant
