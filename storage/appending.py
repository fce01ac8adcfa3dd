"""Append choices in one transaction: users, images and choices, in few statements."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import insert, select, tuple_, update
from sqlalchemy.orm import Session

from storage.blobs import BlobStore
from storage.errors import UnknownImage
from storage.identity_keys import IdentityKeys
from storage.records import Appended, Choice, ImageFacts, NewImages, StoredChoice
from storage.rules import check_image
from storage.sharing import mark_shareable
from storage.statements import hold_revisions, insert_into, parts
from storage.tables import ChoiceRow, ImageRow, PassedOverRow, UserRow
from storage.takedowns import refuse_blocked
from storage.tombstones import refuse_erased

Request = tuple[str, str]
"""(user_id, request_id)"""

_MAX_VALUES = 200  # of one statement, well under SQLite's limit on parameters


def append_all(
    session: Session,
    blobs: BlobStore,
    items: Sequence[tuple[Choice, NewImages]],
    keys: IdentityKeys,
    *,
    shareable: bool,
) -> list[Appended]:
    """Append checked choices inside a writing transaction; see `HistoryStore.append_many`.

    Users, then images, are locked in order of their ids, so that two batches cannot deadlock.
    """
    now = datetime.now(UTC)
    choices = [choice for choice, _ in items]
    users = {choice.user_id for choice in choices}
    revisions = _lock_users(session, users, now)
    # Not before: an append that has waited for an erasure must see the tombstone it has written.
    refuse_erased(session, sorted(users), keys)
    first = _answered(session, choices)
    answers: list[Appended | None] = []
    pending: dict[int, Choice] = {}
    places: dict[Request, int] = {}
    for place, choice in enumerate(choices):
        request = _request(choice)
        if request in first:
            answers.append(Appended(first[request], repeated=True))
            continue
        answers.append(None)
        if request is None or request not in places:
            pending[place] = choice
        if request is not None:
            places.setdefault(request, place)
    refuse_blocked(session, _named(pending.values()))
    # Only for choices that are stored: an image sent with a repeated request would belong to no
    # choice, and no erasure would remove it.
    _add_images(session, blobs, items, list(pending.values()), now)
    if shareable:
        # Of a repeat what was stored: whoever repeats a request may name any image now.
        repeated = [stored.choice for stored in first.values()]
        mark_shareable(session, _named([*pending.values(), *repeated]))
    stored = dict(
        zip(pending, _insert(session, list(pending.values()), revisions, now), strict=True)
    )
    return [
        answer
        or Appended(
            stored[place] if place in stored else stored[places[_certain(choices[place])]],
            repeated=place not in stored,
        )
        for place, answer in enumerate(answers)
    ]


def stored_choice(row: ChoiceRow, passed_over: Sequence[str]) -> StoredChoice:
    """A row and its passed-over images as a record."""
    choice = Choice(
        user_id=row.user_id,
        liked=row.liked,
        passed_over=tuple(passed_over),
        prompt=row.prompt,
        chosen_at=row.chosen_at,
        source=row.source,
        request_id=row.request_id,
        dataset=row.dataset,
    )
    return StoredChoice(row.choice_id, row.revision, choice)


def _request(choice: Choice) -> Request | None:
    return None if choice.request_id is None else (choice.user_id, choice.request_id)


def _certain(choice: Choice) -> Request:
    assert choice.request_id is not None
    return choice.user_id, choice.request_id


def _lock_users(session: Session, user_ids: set[str], now: datetime) -> dict[str, int]:
    """Add new users and lock all of them; return their revisions by id."""
    ordered = sorted(user_ids)
    revisions: dict[str, int] = {}
    for part in parts(ordered, _MAX_VALUES):
        rows = [{"user_id": user_id, "revision": 0, "created_at": now} for user_id in part]
        # An insert waits for another transaction that is adding the same row.
        session.execute(insert_into(session, UserRow).on_conflict_do_nothing(), rows)
        revisions |= hold_revisions(session, part)
    return revisions


def _answered(session: Session, choices: Sequence[Choice]) -> dict[Request | None, StoredChoice]:
    """Requests that are stored already, with their choices."""
    requests = [request for choice in choices if (request := _request(choice)) is not None]
    answers: dict[Request | None, StoredChoice] = {}
    for part in parts(requests, _MAX_VALUES):
        query = select(ChoiceRow).where(tuple_(ChoiceRow.user_id, ChoiceRow.request_id).in_(part))
        rows = session.scalars(query).all()
        passed: dict[int, list[str]] = {row.choice_id: [] for row in rows}
        named = select(PassedOverRow.choice_id, PassedOverRow.sha256).where(
            PassedOverRow.choice_id.in_(passed)
        )
        for choice_id, sha256 in session.execute(named.order_by(PassedOverRow.position)):
            passed[choice_id].append(sha256)
        for row in rows:
            answers[row.user_id, str(row.request_id)] = stored_choice(row, passed[row.choice_id])
    return answers


def _add_images(
    session: Session,
    blobs: BlobStore,
    items: Sequence[tuple[Choice, NewImages]],
    choices: Sequence[Choice],
    now: datetime,
) -> None:
    """Store the bytes and rows of new images of `choices`; refuse unknown ones."""
    given = {sha256: image for _, images in items for sha256, image in images.items()}
    for part in parts(_named(choices), _MAX_VALUES):
        query = select(ImageRow.sha256).where(ImageRow.sha256.in_(part))
        missing = sorted(set(part) - set(session.scalars(query)))
        unknown = [sha256 for sha256 in missing if sha256 not in given]
        if unknown:
            message = f"no image {unknown[0]} is stored: send its bytes"
            raise UnknownImage(message, sha256=unknown[0])
        for sha256 in missing:
            facts, data = given[sha256]
            check_image(sha256, facts, data)
            blobs.put(data)
        if missing:
            rows = [_image_row(given[sha256][0], now) for sha256 in missing]
            session.execute(insert_into(session, ImageRow).on_conflict_do_nothing(), rows)


def _named(choices: Iterable[Choice]) -> list[str]:
    """The images that choices name, each once, in order."""
    named = {sha256 for choice in choices for sha256 in (*choice.passed_over, choice.liked)}
    return sorted(sha256 for sha256 in named if sha256 is not None)


def _image_row(facts: ImageFacts, now: datetime) -> dict[str, Any]:
    return {
        "sha256": facts.sha256,
        "media_type": facts.media_type,
        "width": facts.width,
        "height": facts.height,
        "num_bytes": facts.num_bytes,
        "created_at": now,
    }


def _insert(
    session: Session, choices: Sequence[Choice], revisions: dict[str, int], now: datetime
) -> list[StoredChoice]:
    """Insert choices in order, each with its user's next revision."""
    if not choices:
        return []
    numbers = []
    for choice in choices:
        revisions[choice.user_id] += 1
        numbers.append(revisions[choice.user_id])
    rows = [
        {
            "user_id": choice.user_id,
            "revision": revision,
            "liked": choice.liked,
            "prompt": choice.prompt,
            "chosen_at": choice.chosen_at,
            "source": choice.source,
            "request_id": choice.request_id,
            "dataset": choice.dataset,
            "recorded_at": now,
        }
        for choice, revision in zip(choices, numbers, strict=True)
    ]
    returning = insert(ChoiceRow).returning(ChoiceRow.choice_id, sort_by_parameter_order=True)
    ids = list(session.scalars(returning, rows))
    passed = [
        {"choice_id": choice_id, "position": position, "sha256": sha256}
        for choice_id, choice in zip(ids, choices, strict=True)
        for position, sha256 in enumerate(choice.passed_over)
    ]
    if passed:
        session.execute(insert(PassedOverRow), passed)
    users = sorted({choice.user_id for choice in choices})
    grown = [{"user_id": user_id, "revision": revisions[user_id]} for user_id in users]
    session.execute(update(UserRow), grown)
    return [
        StoredChoice(choice_id, revision, choice)
        for choice_id, revision, choice in zip(ids, numbers, choices, strict=True)
    ]
