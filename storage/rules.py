"""What ids, prompts, choices, images and signatures must be like before they are stored."""

import hashlib
import re
import unicodedata

import numpy as np

from storage.errors import InvalidRecord
from storage.records import Choice, ImageFacts, Signature

MAX_USER_ID = 256
MAX_REQUEST_ID = 128
MAX_SOURCE = 64
MAX_PROMPT = 10_000
MAX_MODEL_VERSION = 64
MAX_LIMIT = 2**31 - 1  # PostgreSQL is sent limits in 32 bits
_SHA256 = re.compile(r"[0-9a-f]{64}")
_YEARS = range(2, 9999)  # in any time zone, an instant of these years is one of years 1 to 9999


def check_user_id(user_id: str) -> None:
    """A user id is 1 to 256 characters without control characters.

    Raises:
        InvalidRecord: otherwise.
    """
    _check_text("user_id", user_id, MAX_USER_ID, least=1)
    if any(unicodedata.category(character) == "Cc" for character in user_id):
        raise InvalidRecord("user_id must hold no control characters: remove them")


def check_limit(limit: int | None) -> int | None:
    """A page holds something.

    Returns:
        The limit, or what a database counts to if that is less.

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
    """A signature is of a user and a model version, and a flat vector of finite numbers.

    Raises:
        InvalidRecord: with the rule that is broken.
    """
    check_user_id(signature.user_id)
    _check_text("model_version", signature.model_version, MAX_MODEL_VERSION, least=1)
    vector = signature.vector
    if vector.ndim != 1 or not vector.size:
        raise InvalidRecord(f"a signature must have shape (E,), got {vector.shape}")
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite
        kept = vector.astype(np.float32)
    if not np.isfinite(kept).all():
        raise InvalidRecord("a signature must hold finite numbers alone")


def check_image(sha256: str, facts: ImageFacts, data: bytes) -> None:
    """The facts and bytes of an image are those of its digest.

    Raises:
        InvalidRecord: otherwise.
    """
    if hashlib.sha256(data).hexdigest() != sha256 or facts.sha256 != sha256:
        raise InvalidRecord(f"the bytes or facts given for image {sha256} have another digest")
    if facts.num_bytes != len(data):
        raise InvalidRecord(f"image {sha256} has {len(data)} bytes, its facts say otherwise")


def check_choice(choice: Choice) -> None:
    """A choice names a user, at least one image, and each image once.

    Raises:
        InvalidRecord: with the rule that is broken.
    """
    check_user_id(choice.user_id)
    _check_text("prompt", choice.prompt, MAX_PROMPT)
    _check_text("source", choice.source, MAX_SOURCE, least=1)
    if choice.request_id is not None:
        _check_text("request_id", choice.request_id, MAX_REQUEST_ID, least=1)
    if choice.chosen_at.tzinfo is None:
        raise InvalidRecord("chosen_at must have a time zone: pass UTC")
    if choice.chosen_at.year not in _YEARS:
        raise InvalidRecord(f"chosen_at must be in years 2 to 9998, got {choice.chosen_at.year}")
    images = [*choice.passed_over, *([choice.liked] if choice.liked is not None else [])]
    if not images:
        raise InvalidRecord("a choice must name an image liked or passed over, got none")
    if len(set(images)) < len(images):
        raise InvalidRecord("a choice must name each image once, got one twice")
    for image in images:
        if not is_sha256(image):
            raise InvalidRecord(f"an image is named by 64 hex digits, got {image[:80]!r}")


def _check_text(name: str, value: str, most: int, *, least: int = 0) -> None:
    if not least <= len(value) <= most:
        raise InvalidRecord(
            f"{name} must be {least} to {most} characters, got {len(value)}: shorten it"
            if value
            else f"{name} must not be empty"
        )
    if "\x00" in value:
        raise InvalidRecord(f"{name} must hold no NUL character: remove it")
    if any(unicodedata.category(character) == "Cs" for character in value):
        raise InvalidRecord(f"{name} must be valid Unicode, got half a surrogate pair")
