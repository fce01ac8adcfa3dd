"""The rules for ids, prompts, choices, images and signatures, checked before they are stored."""

import hashlib
import re
from datetime import UTC, datetime, timedelta

from storage.errors import InvalidRecord
from storage.records import Choice, ImageFacts, Signature

MAX_USER_ID_CHARS = 256
MAX_REQUEST_ID_CHARS = 128
MAX_SOURCE_CHARS = 64
MAX_PROMPT_CHARS = 10_000
MAX_MODEL_VERSION_CHARS = 64
MAX_CLOCK_SKEW = timedelta(days=1)
MAX_LIMIT = 2**31 - 1  # PostgreSQL is sent limits in 32 bits
NO_TIME_BEFORE = datetime(1971, 1, 1, tzinfo=UTC)
"""Choices before it are of imports that told no time: they stand in the first days of 1970."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_YEARS = range(2, 9999)  # in any time zone, an instant of these years is one of years 1 to 9999


def check_user_id(user_id: str) -> None:
    """Check that a user id is 1 to 256 characters without control characters.

    Raises:
        InvalidRecord: otherwise.
    """
    check_text("user_id", user_id, at_least=1, at_most=MAX_USER_ID_CHARS)
    if _CONTROL.search(user_id):
        raise InvalidRecord("user_id must hold no control characters: remove them")


def check_text(name: str, text: str, *, at_least: int = 0, at_most: int) -> None:
    """Check the length of a text, and that every database can store it.

    Args:
        name: of the field, for the message.
        text: any.
        at_least: the fewest characters.
        at_most: the most characters.

    Raises:
        InvalidRecord: otherwise.
    """
    if not at_least <= len(text) <= at_most:
        raise InvalidRecord(
            f"{name} must be {at_least} to {at_most} characters, got {len(text)}: shorten it"
            if text
            else f"{name} must not be empty: {at_least} to {at_most} characters, got 0"
        )
    if "\x00" in text:
        raise InvalidRecord(f"{name} must hold no NUL character: remove it")
    if _SURROGATE.search(text):
        raise InvalidRecord(f"{name} must be valid Unicode, got a lone surrogate")


def check_sha256(name: str, text: str) -> None:
    """Check that a text is a SHA-256, as images are named.

    Args:
        name: of the field, for the message.
        text: any.

    Raises:
        InvalidRecord: otherwise.
    """
    if not is_sha256(text):
        raise InvalidRecord(f"{name} must be 64 lower-case hex digits, got {text[:80]!r}")


def check_instant(instant: datetime, *, name: str = "chosen_at") -> None:
    """Check that an instant has a time zone and fits every database.

    Args:
        instant: any.
        name: of the field, for the message.

    Raises:
        InvalidRecord: otherwise.
    """
    if instant.tzinfo is None:
        raise InvalidRecord(f"{name} must have a time zone, got {instant}: pass UTC")
    if instant.year not in _YEARS:
        raise InvalidRecord(f"{name} must be in years 2 to 9998, got {instant.year}")


def check_chosen_at(
    chosen_at: datetime, *, name: str = "chosen_at", now: datetime | None = None
) -> None:
    """Check that an instant has a time zone, fits every database, and does not lie in the future.

    A choice of the future would stay the newest of its user for ever.

    Args:
        chosen_at: any; clocks may differ by `MAX_CLOCK_SKEW`.
        name: of the field, for the message.
        now: with a time zone; None for this machine's clock.

    Raises:
        InvalidRecord: otherwise.
    """
    check_instant(chosen_at, name=name)
    now = now or datetime.now(UTC)
    if chosen_at > now + MAX_CLOCK_SKEW:
        raise InvalidRecord(
            f"{name} must be at most a day ahead of now, {now.isoformat(timespec='seconds')}, got"
            f" {chosen_at.isoformat(timespec='seconds')}: check the clock that it was read from"
        )


def is_told(chosen_at: datetime) -> bool:
    """Tell whether it is known when a choice was made, and not only in which order."""
    return chosen_at >= NO_TIME_BEFORE


def check_limit(limit: int | None) -> int | None:
    """Check the limit of a page.

    Returns:
        The limit, or the largest that every database accepts if that is less.

    Raises:
        ValueError: if it is less than 1.
    """
    if limit is None:
        return None
    if limit < 1:
        raise ValueError(f"limit must be at least 1, got {limit}")
    return min(limit, MAX_LIMIT)


def is_sha256(text: str) -> bool:
    """Whether a text could name an image: 64 lower-case hex digits."""
    return _SHA256.fullmatch(text) is not None


def check_signature(signature: Signature) -> None:
    """Check that a signature names user and model version, and is a flat vector of finite numbers.

    Raises:
        InvalidRecord: with the rule that is broken.
    """
    import numpy as np  # slow to import, and the client shares these rules

    check_user_id(signature.user_id)
    check_text(
        "model_version", signature.model_version, at_least=1, at_most=MAX_MODEL_VERSION_CHARS
    )
    vector = signature.vector
    if vector.ndim != 1 or not vector.size:
        raise InvalidRecord(f"a signature must have shape (E,), got {vector.shape}")
    with np.errstate(over="ignore"):  # values beyond float32 become infinite
        kept = vector.astype(np.float32)
    if not np.isfinite(kept).all():
        raise InvalidRecord("a signature must hold only finite numbers")


def check_image(sha256: str, facts: ImageFacts, data: bytes) -> None:
    """Check that an image's bytes and facts match its digest.

    Raises:
        InvalidRecord: otherwise.
    """
    if hashlib.sha256(data).hexdigest() != sha256 or facts.sha256 != sha256:
        raise InvalidRecord(f"the bytes or facts given for image {sha256} have another digest")
    if facts.num_bytes != len(data):
        raise InvalidRecord(f"image {sha256} has {len(data)} bytes, its facts say otherwise")


def check_choice(choice: Choice) -> None:
    """Check that a choice names a user, at least one image, and each image once.

    Raises:
        InvalidRecord: with the rule that is broken.
    """
    check_user_id(choice.user_id)
    check_text("prompt", choice.prompt, at_most=MAX_PROMPT_CHARS)
    check_text("source", choice.source, at_least=1, at_most=MAX_SOURCE_CHARS)
    if choice.request_id is not None:
        check_text("request_id", choice.request_id, at_least=1, at_most=MAX_REQUEST_ID_CHARS)
    check_chosen_at(choice.chosen_at)
    images = [*choice.passed_over, *([choice.liked] if choice.liked is not None else [])]
    if not images:
        raise InvalidRecord("a choice must name an image liked or passed over, got none")
    if len(set(images)) < len(images):
        raise InvalidRecord("a choice must name each image once, got one twice")
    for image in images:
        check_sha256("the SHA-256 of an image", image)
