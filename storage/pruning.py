"""Retention: which choices are too old or too many, their removal, and bytes that nothing names."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial

from sqlalchemy import ColumnElement, Select, case, func, or_, select

from storage.blobs import BlobStore
from storage.database import Database
from storage.erasing import remove_blobs
from storage.removing import FindChoices, Removed, remove_in_parts
from storage.rules import NO_TIME_BEFORE, is_sha256
from storage.statements import parts
from storage.tables import ChoiceRow, ImageRow

MIN_ORPHAN_AGE = timedelta(hours=1)
"""Younger bytes may be of a transaction that has not written its rows yet."""

_USERS_AT_ONCE = 500


@dataclass(frozen=True, slots=True)
class Retention:
    """What is kept.

    Attributes:
        chosen_from: choices before it go; those whose time nobody told by when they were stored.
        keep_newest: of each user, at least 1; in the order in which they were stored.

    Raises:
        ValueError: if it keeps everything, or nothing.
    """

    chosen_from: datetime | None = None
    keep_newest: int | None = None

    def __post_init__(self) -> None:
        if self.chosen_from is None and self.keep_newest is None:
            raise ValueError("a retention must have an age, a number or both, got neither")
        if self.keep_newest is not None and self.keep_newest < 1:
            raise ValueError(f"keep_newest must be at least 1, got {self.keep_newest}")


@dataclass(frozen=True, slots=True)
class Doomed:
    """What a prune would remove now.

    Attributes:
        num_choices: too old, or more than are kept.
        num_users: whose they are.
        num_orphans: files of images that nothing names.
    """

    num_choices: int
    num_users: int
    num_orphans: int


class Pruner:
    """Removes what a retention does not keep.

    Args:
        database: with a current schema.
        blobs: where image bytes are; of this database alone.
    """

    def __init__(self, database: Database, blobs: BlobStore) -> None:
        self.database = database
        self.blobs = blobs

    def count(self, retention: Retention) -> Doomed:
        """Count what would go; changes nothing."""
        newest_first = func.row_number().over(
            partition_by=ChoiceRow.user_id, order_by=ChoiceRow.revision.desc()
        )
        placed = select(
            ChoiceRow.user_id, _age().label("moment"), newest_first.label("place")
        ).subquery()
        bounds: list[ColumnElement[bool]] = []
        if retention.chosen_from is not None:
            bounds.append(placed.c.moment < retention.chosen_from)
        if retention.keep_newest is not None:
            bounds.append(placed.c.place > retention.keep_newest)
        query = select(func.count(), func.count(placed.c.user_id.distinct())).where(or_(*bounds))
        with self.database.session() as session:
            num_choices, num_users = session.execute(query).one()
        return Doomed(num_choices, num_users, self.count_orphans())

    def count_orphans(self) -> int:
        """Count the files that `remove_orphans` would remove; changes nothing."""
        return sum(len(names) for names in self._orphans())

    def prune(
        self, retention: Retention, *, progress: Callable[[int], None] = lambda num_choices: None
    ) -> Removed:
        """Remove choices, as `storage.removing` tells, in bounded transactions.

        Args:
            retention: what stays.
            progress: called after each transaction with the number of choices removed so far.
        """
        removed = Removed()
        for find in self._finds(retention):
            report = partial(_report_total, progress, removed.num_choices)
            removed += remove_in_parts(self.database, self.blobs, find, progress=report)
        return removed

    def remove_orphans(self) -> int:
        """Remove files of images that nothing names, as an ended process may leave them.

        Those that are younger than `MIN_ORPHAN_AGE` stay.

        Returns:
            How many went.
        """
        number = 0
        for names in self._orphans():
            remove_blobs(self.database, self.blobs, [name for name in names if is_sha256(name)])
            for name in names:
                if not is_sha256(name):
                    self.blobs.delete_unfinished(name)
            number += len(names)
        return number

    def _finds(self, retention: Retention) -> Iterator[FindChoices]:
        if retention.keep_newest is not None:
            yield from (_beyond(*each) for each in self._cutoffs(retention.keep_newest))
        if retention.chosen_from is not None:
            yield _older(retention.chosen_from)

    def _cutoffs(self, keep_newest: int) -> Iterator[tuple[str, int]]:
        """Users with more choices than are kept, and the first revision of each that is kept."""
        after = ""
        while True:
            crowded = (
                select(ChoiceRow.user_id)
                .where(ChoiceRow.user_id > after)
                .group_by(ChoiceRow.user_id)
                .having(func.count() > keep_newest)
                .order_by(ChoiceRow.user_id)
                .limit(_USERS_AT_ONCE)
            )
            with self.database.session() as session:
                user_ids = list(session.scalars(crowded))
                cutoffs = [
                    session.scalars(_nth_newest(each, keep_newest)).one() for each in user_ids
                ]
            if not user_ids:
                return
            yield from zip(user_ids, cutoffs, strict=True)
            after = user_ids[-1]

    def _orphans(self) -> Iterator[list[str]]:
        """Files without a row, a folder of the blobs at a time."""
        until = datetime.now(UTC) - MIN_ORPHAN_AGE
        for names in self.blobs.names():
            known: set[str] = set()
            with self.database.session() as session:
                for part in parts([name for name in names if is_sha256(name)]):
                    query = select(ImageRow.sha256).where(ImageRow.sha256.in_(part))
                    known |= set(session.scalars(query))
            unknown = [name for name in names if name not in known]
            yield [name for name in unknown if self.blobs.is_older(name, until)]


def _report_total(progress: Callable[[int], None], num_before: int, num_removed: int) -> None:
    progress(num_before + num_removed)


def _age() -> ColumnElement[datetime]:
    is_told = ChoiceRow.chosen_at >= NO_TIME_BEFORE
    return case((is_told, ChoiceRow.chosen_at), else_=ChoiceRow.recorded_at)


def _older(moment: datetime) -> FindChoices:
    def find(after: int) -> Select[int, str]:
        return (
            select(ChoiceRow.choice_id, ChoiceRow.user_id)
            .where(ChoiceRow.choice_id > after, _age() < moment)
            .order_by(ChoiceRow.choice_id)
        )

    return find


def _beyond(user_id: str, first_kept: int) -> FindChoices:
    def find(after: int) -> Select[int, str]:
        return (
            select(ChoiceRow.choice_id, ChoiceRow.user_id)
            .where(ChoiceRow.user_id == user_id, ChoiceRow.revision < first_kept)
            .where(ChoiceRow.choice_id > after)
            .order_by(ChoiceRow.choice_id)
        )

    return find


def _nth_newest(user_id: str, nth: int) -> Select[int]:
    return (
        select(ChoiceRow.revision)
        .where(ChoiceRow.user_id == user_id)
        .order_by(ChoiceRow.revision.desc())
        .offset(nth - 1)
        .limit(1)
    )
