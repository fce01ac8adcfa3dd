"""What a ranking is asked for and what it answers; the rules for a request. No tensors here."""

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from recsys.errors import InvalidRequest

MAX_ID_CHARS = 256
MAX_PROMPT_CHARS = 10_000

_SHA256 = re.compile(r"[0-9a-f]{64}")


class Personalization(Enum):
    """How much of the user the scores rest on."""

    COLD_START = "COLD_START"  # no references: the taste of people in general
    PARTIAL = "PARTIAL"  # some, but fewer than the model was trained with
    WARM = "WARM"  # as many as the model was trained with


class CandidateStatus(Enum):
    """What became of one candidate."""

    RANKED = "RANKED"
    INVALID_IMAGE = "INVALID_IMAGE"
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"


@dataclass(frozen=True, slots=True)
class Candidate:
    """An image to be ranked.

    Attributes:
        id: the caller's name for it, 1 to 256 characters, unique in the request.
        prompt: what it was made from, at most 10,000 characters; may be empty.
        image: encoded PNG, JPEG or WebP bytes, or None.
        sha256: of a stored image, 64 lower-case hex digits, or None; exactly one of both is given.
    """

    id: str
    prompt: str
    image: bytes | None = field(default=None, repr=False)
    sha256: str | None = None


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate's place.

    Attributes:
        id: the caller's name for it.
        score: Q in [0, 1], or None when it could not be scored.
        rank: 1 for the best, or None when it could not be scored.
        status: RANKED, or why not.
        message: for people, why it could not be scored; else empty.
    """

    id: str
    score: float | None
    rank: int | None
    status: CandidateStatus
    message: str = ""


@dataclass(frozen=True, slots=True)
class Borrowed:
    """What of an answer is other people's; never whose.

    Attributes:
        num_references: other people's pairs that it rests on.
        num_neighbours: how many people they are of.
        population_version: digest of what was learned from them; scores of two do not compare.
    """

    num_references: int
    num_neighbours: int
    population_version: str


NOTHING_BORROWED = Borrowed(0, 0, "")


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates in one user's order.

    Attributes:
        user_id: whose.
        model_version: digest of all that decided the scores.
        personalization: how much of the user they rest on.
        num_references: how many references were used; when no candidate could be scored, how many
            would have been.
        candidates: best first, equal scores in the order of the request; then those that could not
            be scored, in the order of the request.
        borrowed: what of the scores rests on other people's choices.
    """

    user_id: str
    model_version: str
    personalization: Personalization
    num_references: int
    candidates: tuple[RankedCandidate, ...]
    borrowed: Borrowed = NOTHING_BORROWED


def check_request(
    user_id: str, candidates: Sequence[Candidate], *, max_candidates: int = 256
) -> None:
    """Refuse a request that breaks a rule, before anything is decoded.

    Raises:
        InvalidRequest: naming the field, the rule and what arrived.
    """
    check_user_id(user_id)
    if not 1 <= len(candidates) <= max_candidates:
        raise InvalidRequest(
            f"candidates must be 1 to {max_candidates}, got {len(candidates)}", field="candidates"
        )
    seen: dict[str, int] = {}
    for index, candidate in enumerate(candidates):
        _check_candidate(candidate, f"candidates[{index}]")
        first = seen.setdefault(candidate.id, index)
        if first != index:
            raise InvalidRequest(
                f"candidates[{index}].id must be unique, got the id of candidates[{first}] again",
                field=f"candidates[{index}].id",
            )


def check_user_id(user_id: str) -> None:
    """Refuse what storage would not take for a user's id.

    Raises:
        InvalidRequest: naming the rule and what arrived.
    """
    check_text(user_id, "user_id", at_least=1, at_most=MAX_ID_CHARS)
    if any(unicodedata.category(character) == "Cc" for character in user_id):
        raise InvalidRequest("user_id must have no control characters", field="user_id")


def check_sha256(text: str, field: str) -> None:
    """Refuse what cannot be the SHA-256 of a stored image.

    Raises:
        InvalidRequest: naming the field and what arrived.
    """
    if not _SHA256.fullmatch(text):
        raise InvalidRequest(
            f"{field} must be 64 lower-case hex digits, got {text[:80]!r}", field=field
        )


def check_text(text: str, field: str, *, at_least: int, at_most: int) -> None:
    """Refuse text of the wrong length, or that no database can hold.

    Args:
        at_least: characters.
        at_most: characters.

    Raises:
        InvalidRequest: naming the field, the rule and the length that arrived.
    """
    if not at_least <= len(text) <= at_most:
        raise InvalidRequest(
            f"{field} must have {at_least} to {at_most} characters, got {len(text)}", field=field
        )
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise InvalidRequest(
            f"{field} must have no NUL and no half of a surrogate pair: remove it", field=field
        )


def _check_candidate(candidate: Candidate, path: str) -> None:
    check_text(candidate.id, f"{path}.id", at_least=1, at_most=MAX_ID_CHARS)
    check_text(candidate.prompt, f"{path}.prompt", at_least=0, at_most=MAX_PROMPT_CHARS)
    if (candidate.image is None) == (candidate.sha256 is None):
        arrived = "neither" if candidate.image is None else "both"
        raise InvalidRequest(
            f"{path} must have exactly one of image and sha256, got {arrived}",
            field=f"{path}.image",
        )
    if candidate.sha256 is not None:
        check_sha256(candidate.sha256, f"{path}.sha256")
