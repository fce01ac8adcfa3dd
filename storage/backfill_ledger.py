"""The ledger of backfills: the outcome of each user's last attempt under a model version.

Signatures alone show what is up to date. The ledger adds who was skipped or failed, so that they
are not tried again until their history changes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Select, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from storage.database import Database
from storage.rules import check_limit
from storage.statements import MAY_BE_SIGNED, hold_revisions, parts, put_newer
from storage.tables import BackfillRow, ChoiceRow, SignatureRow, UserRow

MAX_ERROR = 500
"""Longest error that is kept, in characters."""

_MAX_ROWS = 100  # of one statement, well under SQLite's limit on parameters
_REPLACED = ("revision", "job", "state", "error", "updated_at")


class BackfillState(StrEnum):
    """How an attempt ended: FAILED by the user's own data, UNAVAILABLE by an outage."""

    DONE = "done"
    SKIPPED = "skipped"
    FAILED = "failed"
    UNAVAILABLE = "unavailable"


FAILURES = (BackfillState.FAILED, BackfillState.UNAVAILABLE)


@dataclass(frozen=True, slots=True)
class LedgerEntry:
    """The outcome of the last attempt to bring a signature up to date.

    Attributes:
        user_id: of the user.
        model_version: of the signature.
        revision: of the history that was read.
        job: the run that made the attempt.
        state: how it ended.
        error: the reason; empty when done.
        updated_at: when, in UTC; None before it is stored.
    """

    user_id: str
    model_version: str
    revision: int
    job: str
    state: BackfillState
    error: str = ""
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class MissingSignatures:
    """How many users have no current signature under a model version.

    Attributes:
        num_due: whom a backfill would try.
        num_skipped: who cannot have one, as no choice of theirs holds a pair.
        num_failed: who could not be given one, and have not chosen since.
    """

    num_due: int
    num_skipped: int
    num_failed: int

    @property
    def num_users(self) -> int:
        """All of them."""
        return self.num_due + self.num_skipped + self.num_failed


class BackfillLedger:
    """The newest entry of each user and model version.

    Args:
        database: with a current schema.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def record(self, entries: Sequence[LedgerEntry]) -> None:
        """Store entries in one transaction; none replaces an entry of a later revision.

        Entries are left out for users who were erased, also if they have returned: their revision
        is then lower than the entry's; and for users who do not want to be personalised.

        Who is SKIPPED loses their signatures of that revision and of earlier ones, under every
        model version: nothing is left that they could be read from.

        Args:
            entries: each user and model version once.
        """
        if not entries:
            return
        with self.database.writing() as session:
            revisions = hold_revisions(
                session, sorted({entry.user_id for entry in entries}), is_personal=True
            )
            kept = [
                entry for entry in entries if entry.revision <= revisions.get(entry.user_id, -1)
            ]
            now = datetime.now(UTC)
            for part in parts(kept, _MAX_ROWS):
                put_newer(session, BackfillRow, [_row(entry, now) for entry in part], _REPLACED)
                _remove_unreadable(session, part)

    def entries(self, model_version: str, user_ids: Sequence[str]) -> dict[str, LedgerEntry]:
        """The entries of these users under a model version; users without one are absent."""
        row = BackfillRow
        entries: dict[str, LedgerEntry] = {}
        with self.database.session() as session:
            for part in parts(user_ids):
                query = select(row).where(row.model_version == model_version, row.user_id.in_(part))
                entries |= {row.user_id: _entry(row) for row in session.scalars(query)}
        return entries

    def failures(
        self, model_version: str, *, after: str = "", limit: int = 1000
    ) -> list[LedgerEntry]:
        """A page of the users whose last attempt failed and who have not chosen since.

        Args:
            model_version: of their signatures.
            after: only users after this id, in code point order.
            limit: the most entries to return, at least 1.
        """
        row = BackfillRow
        query = (
            _stale(select(row), model_version)
            .join(row, and_(_is_current(model_version), row.state.in_(FAILURES)))
            .where(row.user_id > after)
            .order_by(row.user_id)
            .limit(check_limit(limit))
        )
        with self.database.session() as session:
            return [_entry(each) for each in session.scalars(query)]

    def num_due(self, model_version: str, *, retry_failed: bool = False) -> int:
        """The number of users whose signature is missing or stale and should be tried.

        Args:
            model_version: of their signatures.
            retry_failed: also count users who failed and have not chosen since.
        """
        row = BackfillRow
        is_out = row.state.in_(final_states(retry_failed=retry_failed))
        query = (
            _stale(select(func.count()), model_version)
            .outerjoin(row, and_(_is_current(model_version), is_out))
            .where(row.user_id.is_(None))
        )
        with self.database.session() as session:
            return session.scalar(query) or 0

    def missing(self, model_version: str) -> MissingSignatures:
        """Count the users whose signature is missing or stale, by what can be done.

        Users without a choice, and those who do not want to be personalised, need none.

        Args:
            model_version: of their signatures.
        """
        row = BackfillRow
        is_final = row.state.in_(final_states(retry_failed=False))
        query = (
            _stale(select(row.state, func.count()), model_version)
            .outerjoin(row, and_(_is_current(model_version), is_final))
            .group_by(row.state)
        )
        with self.database.session() as session:
            counts = {state: number for state, number in session.execute(query)}  # noqa: C416
        return MissingSignatures(
            num_due=counts.get(None, 0),
            num_skipped=counts.get(BackfillState.SKIPPED.value, 0),
            num_failed=counts.get(BackfillState.FAILED.value, 0),
        )

    def still_stored(self, choice_ids: Sequence[int]) -> set[int]:
        """Return those of these choices that are still stored.

        Choice ids are never reused, so this shows whether a user is still the one whose history was
        read. A revision does not: it begins again when an erased user returns.
        """
        stored: set[int] = set()
        with self.database.session() as session:
            for part in parts(choice_ids):
                query = select(ChoiceRow.choice_id).where(ChoiceRow.choice_id.in_(part))
                stored |= set(session.scalars(query))
        return stored


def final_states(*, retry_failed: bool) -> tuple[BackfillState, ...]:
    """The states after which a user is not tried again at a revision; an outage is none."""
    skipped = (BackfillState.SKIPPED,)
    return skipped if retry_failed else (*skipped, BackfillState.FAILED)


def _remove_unreadable(session: Session, entries: Sequence[LedgerEntry]) -> None:
    row = SignatureRow
    skipped = [
        and_(row.user_id == entry.user_id, row.revision <= entry.revision)
        for entry in entries
        if entry.state is BackfillState.SKIPPED
    ]
    if skipped:
        session.execute(delete(row).where(or_(*skipped)))


def _stale(query: Select[*tuple[Any, ...]], model_version: str) -> Select[*tuple[Any, ...]]:
    is_fresh = (
        select(SignatureRow.user_id)
        .where(
            SignatureRow.user_id == UserRow.user_id,
            SignatureRow.model_version == model_version,
            SignatureRow.revision >= UserRow.revision,
        )
        .exists()
    )
    # SQLite asks in this order: few users are left of whom it must look for choices.
    return query.select_from(UserRow).where(~is_fresh, *MAY_BE_SIGNED)


def _is_current(model_version: str) -> Any:
    return and_(
        BackfillRow.user_id == UserRow.user_id,
        BackfillRow.model_version == model_version,
        BackfillRow.revision >= UserRow.revision,
    )


def _row(entry: LedgerEntry, now: datetime) -> dict[str, Any]:
    return {
        "user_id": entry.user_id,
        "model_version": entry.model_version,
        "revision": entry.revision,
        "job": entry.job,
        "state": entry.state.value,
        "error": _storable(entry.error),
        "updated_at": now,
    }


def _storable(error: str) -> str:
    """On one line, and without what a database refuses: NUL and lone surrogates."""
    return "".join(each if each.isprintable() else " " for each in error[:MAX_ERROR])


def _entry(row: BackfillRow) -> LedgerEntry:
    return LedgerEntry(
        row.user_id,
        row.model_version,
        row.revision,
        row.job,
        BackfillState(row.state),
        row.error,
        row.updated_at,
    )
