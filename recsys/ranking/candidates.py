"""The values of a ranking, and the rules for a request. No tensors here."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from recsys.errors import InvalidRequest
from recsys.fields import require_prompt, require_sha256, require_text, require_user_id
from recsys.reasons import Reason
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed

MAX_ID_CHARS = 256


class Personalization(Enum):
    """How far the scores are personal."""

    COLD_START = "COLD_START"  # no references: the taste of people in general
    PARTIAL = "PARTIAL"  # some, but fewer than the model was trained with
    WARM = "WARM"  # as many as the model was trained with


class CandidateStatus(Enum):
    """Whether a candidate was ranked, or why not."""

    RANKED = "RANKED"
    INVALID_IMAGE = "INVALID_IMAGE"
    IMAGE_NOT_FOUND = "IMAGE_NOT_FOUND"
    BLOCKED = "BLOCKED"


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

    @property
    def digest(self) -> str:
        """SHA-256 of its encoded bytes, whichever way it is given; takes time for long bytes."""
        if self.image is not None:
            return hashlib.sha256(self.image).hexdigest()
        assert self.sha256 is not None, "check_request has seen to it"
        return self.sha256


@dataclass(frozen=True, slots=True)
class RankedCandidate:
    """A candidate's place.

    Attributes:
        id: the caller's name for it.
        score: Q in [0, 1], or None when it could not be scored.
        rank: 1 for the best, or None when it could not be scored.
        status: RANKED, or why not.
        message: why it could not be scored, for people to read; else empty.
        reason: why it could not be scored, for programs: a `Reason`; else empty.
    """

    id: str
    score: float | None
    rank: int | None
    status: CandidateStatus
    message: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Ranking:
    """Candidates in one user's order.

    Attributes:
        user_id: whose.
        model_version: digest of everything that determines a score.
        personalization: how far the scores are personal.
        num_references: how many references were used; when no candidate could be scored, how many
            would have been.
        candidates: best first, equal scores in the order of the request; then those that could not
            be scored, in the order of the request.
        borrowed: what of the scores is based on other users' choices.
        is_opted_out: whether nothing of the user's history was read, because they do not want to
            be personalised; then it is COLD_START.
    """

    user_id: str
    model_version: str
    personalization: Personalization
    num_references: int
    candidates: tuple[RankedCandidate, ...]
    borrowed: Borrowed = NOTHING_BORROWED
    is_opted_out: bool = False


def check_request(
    user_id: str, candidates: Sequence[Candidate], *, max_candidates: int = 256
) -> None:
    """Refuse a request that breaks a rule, before anything is decoded.

    Raises:
        InvalidRequest: naming the field, the rule and what arrived.
    """
    require_user_id(user_id)
    if not 1 <= len(candidates) <= max_candidates:
        raise InvalidRequest(
            f"candidates must be 1 to {max_candidates}, got {len(candidates)}",
            field="candidates",
            reason=Reason.TOO_MANY_CANDIDATES if candidates else Reason.NO_CANDIDATES,
        )
    seen: dict[str, int] = {}
    for index, candidate in enumerate(candidates):
        _check_candidate(candidate, f"candidates[{index}]")
        first = seen.setdefault(candidate.id, index)
        if first != index:
            raise InvalidRequest(
                f"candidates[{index}].id must be unique, got the id of candidates[{first}] again",
                field=f"candidates[{index}].id",
                reason=Reason.DUPLICATE_CANDIDATE_ID,
            )


def require_one_source(candidate: Candidate, path: str) -> None:
    """Refuse a candidate with both bytes and a SHA-256, of which a message holds only one.

    Args:
        candidate: to be ranked.
        path: of the candidate in the request, e.g. "candidates[2]".

    Raises:
        InvalidRequest: naming the field.
    """
    if candidate.image is not None and candidate.sha256 is not None:
        raise InvalidRequest(
            f"{path}.image must have exactly one of data and sha256, got both",
            field=f"{path}.image",
        )


def _check_candidate(candidate: Candidate, path: str) -> None:
    require_text(
        f"{path}.id",
        candidate.id,
        at_least=1,
        at_most=MAX_ID_CHARS,
        reason=Reason.CANDIDATE_ID_INVALID,
    )
    require_prompt(f"{path}.prompt", candidate.prompt)
    if candidate.image is None and candidate.sha256 is None:
        raise InvalidRequest(
            f"{path}.image must have exactly one of data and sha256, got neither",
            field=f"{path}.image",
            reason=Reason.NO_IMAGE,
        )
    require_one_source(candidate, path)
    if candidate.sha256 is not None:
        require_sha256(f"{path}.image.sha256", candidate.sha256)
