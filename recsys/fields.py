"""Fields of a request, by the rules of storage; one that breaks its rule is named."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import datetime

from recsys.errors import InvalidRequest
from recsys.reasons import Reason
from storage import rules
from storage.errors import InvalidRecord

_NAMED_AT_MOST = 20
"""Names in a refusal: it travels in the trailer of a call, which has little room."""

_SHOWN_CHARS = 64


def require_user_id(user_id: str) -> None:
    """Require a user id: 1 to 256 characters, no control characters.

    Raises:
        InvalidRequest: naming `user_id`, the rule and what arrived.
    """
    with _named("user_id", Reason.USER_ID_INVALID):
        rules.check_user_id(user_id)


def require_request_id(request_id: str) -> None:
    """Require a request id: at most 128 characters; an empty one is none.

    Raises:
        InvalidRequest: naming `request_id`, the rule and what arrived.
    """
    require_text(
        "request_id",
        request_id,
        at_most=rules.MAX_REQUEST_ID_CHARS,
        reason=Reason.REQUEST_ID_INVALID,
    )


def require_prompt(field: str, prompt: str) -> None:
    """Require a prompt: at most 10,000 characters.

    Raises:
        InvalidRequest: naming the field, the rule and what arrived.
    """
    require_text(field, prompt, at_most=rules.MAX_PROMPT_CHARS, reason=Reason.PROMPT_INVALID)


def require_sha256(field: str, sha256: str) -> None:
    """Require the SHA-256 of a stored image: 64 lower-case hex digits.

    Raises:
        InvalidRequest: naming the field and what arrived.
    """
    with _named(field, Reason.SHA256_INVALID):
        rules.check_sha256(field, sha256)


def require_chosen_at(chosen_at: datetime) -> None:
    """Require the instant of a choice: with a time zone, and not in the future.

    Raises:
        InvalidRequest: naming `chosen_at`, the rule and what arrived.
    """
    with _named("chosen_at", Reason.CHOSEN_AT_INVALID):
        rules.check_chosen_at(chosen_at)


def require_instant(chosen_at: datetime) -> None:
    """Require what can be sent as the instant of a choice: a time zone, and years 2 to 9998.

    Raises:
        InvalidRequest: naming `chosen_at`, the rule and what arrived.
    """
    with _named("chosen_at", Reason.CHOSEN_AT_INVALID):
        rules.check_instant(chosen_at)


def require_text(field: str, text: str, *, at_least: int = 0, at_most: int, reason: Reason) -> None:
    """Require text of a given length, which every database can hold.

    Args:
        field: path in the request, e.g. "candidates[2].id".
        text: its value.
        at_least: characters.
        at_most: characters.
        reason: of the refusal.

    Raises:
        InvalidRequest: naming the field, the rule and the length that arrived.
    """
    with _named(field, reason):
        rules.check_text(field, text, at_least=at_least, at_most=at_most)


def unknown_audience(audience: str, known: Collection[str]) -> InvalidRequest:
    """The refusal of an audience that a server does not have.

    Args:
        audience: as it arrived, not empty.
        known: the audiences that it has; the first `_NAMED_AT_MOST` are told.
    """
    names = list(known)
    told = ", ".join(names[:_NAMED_AT_MOST])
    more = f" or {len(names) - _NAMED_AT_MOST} more" if len(names) > _NAMED_AT_MOST else ""
    rule = f"one of {told}{more}, or empty" if names else "empty: this server has no other"
    return InvalidRequest(
        f"audience must be {rule}; got {audience[:_SHOWN_CHARS]!r}",
        field="audience",
        reason=Reason.AUDIENCE_UNKNOWN,
    )


@contextmanager
def _named(field: str, reason: Reason) -> Iterator[None]:
    try:
        yield
    except InvalidRecord as error:
        raise InvalidRequest(str(error), field=field, reason=reason) from error
