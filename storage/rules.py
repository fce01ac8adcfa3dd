"""What ids, prompts and choices must be like before they are stored."""

import re
import unicodedata

from storage.errors import InvalidRecord
from storage.records import Choice

MAX_USER_ID = 256
MAX_REQUEST_ID = 128
MAX_SOURCE = 64
MAX_PROMPT = 10_000
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_user_id(user_id: str) -> None:
    """A user id is 1 to 256 characters without control characters.

    Raises:
        InvalidRecord: otherwise.
    """
    _check_text("user_id", user_id, MAX_USER_ID, least=1)
    if any(unicodedata.category(character) == "Cc" for character in user_id):
        raise InvalidRecord("user_id must hold no control characters: remove them")


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
    images = [*choice.passed_over, *([choice.liked] if choice.liked is not None else [])]
    if not images:
        raise InvalidRecord("a choice must name an image liked or passed over, got none")
    if len(set(images)) < len(images):
        raise InvalidRecord("a choice must name each image once, got one twice")
    for image in images:
        if not _SHA256.fullmatch(image):
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
