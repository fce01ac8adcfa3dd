"""Lists of users for people: by a part of the id, in some order, as samples; and who is fresh.

Nothing here writes. A page by id or by newest signature reads few more rows than it shows; a search
for a part of an id, and the order by choices, look at every id.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt
from sqlalchemy import ColumnElement, ScalarSelect, Select, and_, func, select
from sqlalchemy.orm import aliased

from storage.database import Database
from storage.rules import check_limit
from storage.tables import ChoiceRow, SignatureRow, UserRow

_ROWS_AT_ONCE = 5000
_HASHES = 2**32
_GOLDEN = 2_654_435_769  # 2**32 over the golden ratio (Knuth, TAOCP 3, 6.4)
_LARGEST_FACTOR = 2**31  # keeps the product within SQL's 64-bit integers


class Order(StrEnum):
    """Which users of a list come first."""

    ID = "id"  # in code point order
    CHOICES = "choices"  # those with the most
    NEWEST = "newest"  # whose signature is the most recent; those without one come last


@dataclass(frozen=True, slots=True)
class Window:
    """A selection of users by time; None is no bound.

    Attributes:
        chosen_from: the last choice is at or after it.
        chosen_until: the last choice is before it.
        signed_from: the signature was stored at or after it; leaves out users without one.
        signed_until: the signature was stored before it; likewise.
    """

    chosen_from: datetime | None = None
    chosen_until: datetime | None = None
    signed_from: datetime | None = None
    signed_until: datetime | None = None

    @property
    def is_open(self) -> bool:
        """Whether it has no bound."""
        return self == Window()


@dataclass(frozen=True, slots=True)
class ListedUser:
    """A user as shown in a list.

    Attributes:
        user_id: of the user.
        revision: as of `storage.records.History`.
        last_choice_at: time of the last choice, UTC; None if there is none.
        signed_revision: of the history that the signature was computed from; None: no signature.
        signed_at: when the signature was stored, UTC.
        sequence: of the signature; each one stored under a model version gets a higher one.
        is_personal: whether the user lets a signature be read from their choices.
        is_learnable: whether the user lets others profit from what they chose.
        num_choices: stored now; the revision also grows when some are removed.
    """

    user_id: str
    revision: int
    last_choice_at: datetime | None
    signed_revision: int | None
    signed_at: datetime | None
    sequence: int | None
    is_personal: bool = True
    is_learnable: bool = True
    num_choices: int = 0

    @property
    def is_fresh(self) -> bool:
        """Whether there is a signature that includes the newest choice."""
        return self.signed_revision is not None and self.signed_revision >= self.revision


class Browser:
    """Lists users, for people who look for some.

    Args:
        database: with a current schema; may be read-only.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def num_users(self) -> int:
        """The number of stored users."""
        with self.database.session() as session:
            return session.scalar(select(func.count()).select_from(UserRow)) or 0

    def users(
        self,
        part: str = "",
        *,
        model_version: str,
        window: Window | None = None,
        order: Order = Order.ID,
        offset: int = 0,
        limit: int = 24,
    ) -> list[ListedUser]:
        """Users whose id contains a part.

        Args:
            part: of the id, in upper or lower case; control characters are ignored.
            model_version: of the signatures.
            window: only users within it.
            order: which come first.
            offset: how many to leave out before the first, at least 0.
            limit: the most users to return, at least 1.
        """
        check_limit(limit)
        query = _with_part(part, model_version, window or Window())
        if order is Order.NEWEST:
            return self._newest_first(query, max(0, offset), limit)
        if order is Order.CHOICES:
            query = query.order_by(_num_choices().desc())
        query = query.order_by(UserRow.user_id)
        return self._read(query.offset(max(0, offset)).limit(limit))

    def count(self, part: str = "", *, model_version: str, window: Window | None = None) -> int:
        """How many users there are in all of such a list; arguments as those of `users`."""
        query = _with_part(part, model_version, window or Window())
        with self.database.session() as session:
            return session.scalar(query.with_only_columns(func.count())) or 0

    def every(
        self, part: str = "", *, model_version: str, window: Window | None = None
    ) -> Iterator[ListedUser]:
        """All users of such a list, ordered by id; arguments as those of `users`.

        They are read as they are asked for, so that memory holds only some of them.
        """
        query = _with_part(part, model_version, window or Window()).order_by(UserRow.user_id)
        with self.database.session() as session:
            for row in session.execute(query.execution_options(yield_per=_ROWS_AT_ONCE)):
                yield ListedUser(*row)

    def user(self, user_id: str, *, model_version: str) -> ListedUser | None:
        """One user; None if there is no such user."""
        query = _users(model_version, Window()).where(UserRow.user_id == user_id)
        users = self._read(query) if user_id.isprintable() else []
        return users[0] if users else None

    def newest(
        self, *, model_version: str, window: Window | None = None, limit: int = 24
    ) -> list[ListedUser]:
        """Users with the most recent signatures, the newest first."""
        query = (
            _users(model_version, window or Window())
            .where(SignatureRow.model_version == model_version)
            .order_by(SignatureRow.sequence.desc())
        )
        return self._read(query.limit(check_limit(limit)))

    def sample(
        self, *, model_version: str, window: Window | None = None, step: int
    ) -> list[ListedUser]:
        """One in `step` users with a signature, in the order in which signatures were stored.

        Args:
            model_version: of the signatures.
            window: only users within it.
            step: from `step_for`; 1 for all.
        """
        query = (
            _users(model_version, window or Window())
            .where(SignatureRow.model_version == model_version, _is_drawn(step))
            .order_by(SignatureRow.sequence)
        )
        return self._read(query)

    def sample_vectors(
        self, *, model_version: str, step: int
    ) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        """Sequences, shape (N,), and vectors, shape (N, E), of the same sample."""
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

    def _newest_first(
        self, query: Select[*tuple[Any, ...]], offset: int, limit: int
    ) -> list[ListedUser]:
        """A page of users by their signatures, and after these the users who have none, by id."""
        signed = query.where(SignatureRow.sequence.is_not(None))
        newest = signed.order_by(SignatureRow.sequence.desc()).offset(offset).limit(limit)
        users = self._read(newest)
        if len(users) == limit:
            return users
        with self.database.session() as session:
            num_signed = session.scalar(signed.with_only_columns(func.count())) or 0
        unsigned = query.where(SignatureRow.sequence.is_(None)).order_by(UserRow.user_id)
        rest = unsigned.offset(max(0, offset - num_signed)).limit(limit - len(users))
        return users + self._read(rest)

    def _read(self, query: Select[*tuple[Any, ...]]) -> list[ListedUser]:
        with self.database.session() as session:
            return [ListedUser(*row) for row in session.execute(query)]


def step_for(num_signatures: int, limit: int) -> int:
    """The smallest power of two for which one in `step` is at most about `limit`.

    Powers of two keep the sample the same while users come and go.

    Raises:
        ValueError: if the limit is less than 1.
    """
    check_limit(limit)
    return 1 << max(0, math.ceil(math.log2(max(num_signatures, 1) / limit)))


def _is_drawn(step: int) -> ColumnElement[bool]:
    """Whether a signature is in the sample of one in `step`, by Fibonacci hashing.

    Every 16th by sequence would miss patterns that recur with a period of 16.
    """
    spread = (SignatureRow.sequence % _LARGEST_FACTOR) * _GOLDEN % _HASHES
    return spread < _HASHES // step


def _with_part(part: str, model_version: str, window: Window) -> Select[*tuple[Any, ...]]:
    wanted = "".join(each for each in part if each.isprintable())
    query = _users(model_version, window)
    return query.where(UserRow.user_id.icontains(wanted, autoescape=True)) if wanted else query


def _num_choices() -> ScalarSelect[int]:
    """How many choices a user has: removals raise the revision. By the index that begins so."""
    choice = aliased(ChoiceRow)
    number = select(func.count()).where(choice.user_id == UserRow.user_id).correlate(UserRow)
    return number.scalar_subquery()


def _users(model_version: str, window: Window) -> Select[*tuple[Any, ...]]:
    """Users with their last choice and their signature, if any."""
    # Not the user's own revision, which a takedown raises without a choice. By the index on both.
    choice = aliased(ChoiceRow)
    last = (
        select(func.max(choice.revision))
        .where(choice.user_id == UserRow.user_id)
        .correlate(UserRow)
    )
    newest = and_(
        ChoiceRow.user_id == UserRow.user_id, ChoiceRow.revision == last.scalar_subquery()
    )
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
            UserRow.personalize,
            UserRow.learn_from,
            _num_choices(),
        )
        .select_from(UserRow)
        .outerjoin(ChoiceRow, newest)
        .outerjoin(SignatureRow, signed)
    )
    bounds = [
        (window.chosen_from, ChoiceRow.chosen_at.__ge__),
        (window.chosen_until, ChoiceRow.chosen_at.__lt__),
        (window.signed_from, SignatureRow.created_at.__ge__),
        (window.signed_until, SignatureRow.created_at.__lt__),
    ]
    return query.where(*(holds(bound) for bound, holds in bounds if bound is not None))
