"""Records of a file -> drafts: choices whose images are not read yet."""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

from storage.errors import InvalidRecord
from storage.importers.report import Refusal, Skipped
from storage.rules import check_chosen_at

DraftImage = bytes | Path
"""An encoded image, or the file that holds it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Record:
    """One row of a file, nothing of it checked.

    Attributes:
        where: file, and line or row.
        number: of the line or row, from 1.
        read: column name -> value, None when it is absent.
    """

    where: str
    number: int
    read: Callable[[str], Any]


@dataclass(frozen=True, slots=True)
class Draft:
    """A choice as a source tells it.

    Attributes:
        where: for messages.
        user_id: unchecked.
        liked: the image, or None.
        passed_over: likewise; may be empty.
        prompt: unchecked.
        chosen_at: aware; see `moment_of_row` where the source does not tell.
        is_timed: whether `chosen_at` tells this act from an equal one.
        request_id: the source's own name for this act; None: made of its content.
        num_rows: how many rows it was made of.
        shortens: whether it is stored without a blocked image that was passed over; otherwise such
            an image leaves it out.
    """

    where: str
    user_id: str
    liked: DraftImage | None
    passed_over: tuple[DraftImage, ...]
    prompt: str
    chosen_at: datetime
    is_timed: bool = False
    request_id: str | None = None
    num_rows: int = 1
    shortens: bool = False


def drafted(
    records: Iterable[Record | Skipped], make_draft: Callable[[Record], Draft]
) -> Iterator[Draft | Skipped]:
    """Make a draft of each record; those refused are passed on as skipped."""
    for record in records:
        if isinstance(record, Skipped):
            yield record
            continue
        row: Draft | Skipped
        try:
            row = make_draft(record)
        except Refusal as refusal:
            row = Skipped(record.where, refusal.reason, refusal.detail)
        yield row


def text_of(value: Any, column: str) -> str:
    """Read a cell as text; absent is empty.

    Raises:
        Refusal: if it is anything but text.
    """
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Refusal(f"{column} is not text", f"got {type(value).__name__}")
    return value


def user_id_of(value: Any) -> str:
    """Read a user id: text, or a whole number in decimal.

    Raises:
        Refusal: if it is anything else.
    """
    is_number = isinstance(value, int) and not isinstance(value, bool)
    return str(value) if is_number else text_of(value, "user_id")


def moment_of(value: Any, column: str) -> datetime | None:
    """Read a moment as UTC: ISO 8601, a datetime or a date; without a zone it is UTC already.

    Returns:
        None if it is absent or empty.

    Raises:
        Refusal: if it is anything else, or a moment that cannot be stored, such as one to come.
    """
    if value is None or value == "":
        return None
    try:
        text = value.isoformat() if isinstance(value, date) else value  # a datetime is a date
        moment = datetime.fromisoformat(text)
        moment = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (TypeError, ValueError, OverflowError) as error:
        raise Refusal(f"{column} is not a moment in ISO 8601", f"got {value!r}") from error
    try:
        check_chosen_at(moment, name=column)
    except InvalidRecord as error:
        raise Refusal(f"{column} cannot be stored", str(error)) from error
    return moment


def moment_of_row(number: int) -> datetime:
    """Stand in for a moment that nobody wrote down.

    1970 plus a microsecond a row: seen to be no real moment, in the order of the rows, and the
    same whenever the file is imported, as the time of the import would not be.
    """
    return _EPOCH + timedelta(microseconds=number)


def content_id(prefix: str, content: list[Any]) -> str:
    """A request id from what a choice says: equal content gives an equal id."""
    text = json.dumps(content, ensure_ascii=True, separators=(",", ":"))
    return f"{prefix}:{hashlib.sha256(text.encode('ascii')).hexdigest()}"
