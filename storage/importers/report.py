"""What an import did: how many rows were read, stored, known before, left out, and why."""

from collections.abc import Callable
from dataclasses import dataclass, field

RowProgress = Callable[[int], None]
"""Called between transactions with the number of rows done so far."""

MAX_EXAMPLES = 3
_MAX_EXAMPLE = 200  # characters


class Refusal(Exception):
    """A row that cannot be used.

    Args:
        reason: why, one of few texts, so that rows can be counted by it.
        detail: what exactly arrived; may be empty.
    """

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Skipped:
    """A row that was left out.

    Attributes:
        where: file, and line or row.
        reason: as in `Refusal`.
        detail: as in `Refusal`.
        num_rows: how many rows this stands for, at least 1.
    """

    where: str
    reason: str
    detail: str = ""
    num_rows: int = 1


@dataclass
class ImportReport:
    """What an import did.

    Where each row is one choice, num_read = num_stored + num_repeated + num_skipped. Ratings are
    read and skipped by row; stored and repeated are the choices made of them.

    Attributes:
        num_read: rows.
        num_stored: choices that are new in storage.
        num_repeated: choices that were stored before, by an earlier run or an equal row.
        num_skipped: rows left out.
        num_unpaired: of the choices stored, those with a like alone or a dislike alone: they are
            kept, and form no pair.
        num_removed: choices of earlier imports of this data set that are not among those read now,
            removed when all was stored.
        num_left: choices of earlier imports of this data set that are not among those read now;
            they stand beside them.
        num_merged: users who gained choices, and have others that are not of this data set.
        skipped: rows left out, by reason.
        examples: for each reason the first few, with where they stand; details that are equal
            are told once, with the first of them.
    """

    num_read: int = 0
    num_stored: int = 0
    num_repeated: int = 0
    num_skipped: int = 0
    num_unpaired: int = 0
    num_removed: int = 0
    num_left: int = 0
    num_merged: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)

    def skip(self, row: Skipped) -> None:
        """Count a row that was left out, and keep it as an example while there are few."""
        self.num_skipped += row.num_rows
        self.skipped[row.reason] = self.skipped.get(row.reason, 0) + row.num_rows
        examples = self.examples.setdefault(row.reason, [])
        if len(examples) < MAX_EXAMPLES:
            detail = f": {row.detail}" if row.detail else ""
            is_repeated = any(each.endswith(detail) for each in examples)
            text = row.where if is_repeated else row.where + detail
            cut = text if len(text) <= _MAX_EXAMPLE else text[: _MAX_EXAMPLE - 1] + "…"
            examples.append(cut)


def no_progress(num_rows: int) -> None:
    """Show nothing."""
