"""Pages of a list (AIP-158): their size, and tokens bound to the query they were made for."""

import base64
import hashlib
import struct
from collections.abc import Iterable
from typing import TypeVar

from google.protobuf.message import Message

from recsys.errors import InvalidRequest
from recsys.reasons import Reason

DEFAULT_SIZE = 100
MAX_SIZE = 1000
MAX_PAGE_BYTES = 2**20
"""A page ends past this many bytes."""

_AFTER = struct.Struct(">q")
_CHECK_BYTES = 16

Listed = TypeVar("Listed", bound=Message)

Query = tuple[str, ...]
"""A method and all that decides what it lists and in which order."""


def page_size(asked: int) -> int:
    """Return how many to list at most.

    Args:
        asked: 0 for the default; more than the maximum counts as the maximum.

    Raises:
        InvalidRequest: if it is negative.
    """
    if asked < 0:
        raise InvalidRequest(
            f"page_size must be at least 0, got {asked}",
            field="page_size",
            reason=Reason.PAGE_SIZE_INVALID,
        )
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def fitting(messages: Iterable[Listed]) -> list[Listed]:
    """Return as many messages as make a page that every client can read, at least one.

    By default, clients take responses of at most 4 MiB.

    Args:
        messages: what to list, in order.
    """
    page: list[Listed] = []
    num_bytes = 0
    for message in messages:
        num_bytes += message.ByteSize()
        if num_bytes > MAX_PAGE_BYTES and page:
            break
        page.append(message)
    return page


def number_token(query: Query, after: int) -> str:
    """Make the token that goes on after a number, such as a rank, in a query's list.

    The check is no secret: it keeps a token of another list, or a damaged one, from being taken
    for a place in this list. A token names nothing that its bearer could not list anyway.
    """
    return _token(query, _AFTER.pack(after))


def number_of(query: Query, token: str) -> int:
    """Return the number after which a token goes on; 0 for an empty token.

    Raises:
        InvalidRequest: if the token was not made for this query.
    """
    if not token:
        return 0
    after = _after(query, token)
    if len(after) != _AFTER.size:
        raise _refused()
    (number,) = _AFTER.unpack(after)
    return int(number)


def text_token(query: Query, after: str) -> str:
    """Make the token that goes on after a text, such as a user id, in a query's list."""
    return _token(query, _encoded(after))


def text_of(query: Query, token: str) -> str:
    """Return the text after which a token goes on; an empty one for an empty token.

    Raises:
        InvalidRequest: if the token was not made for this query.
    """
    return _after(query, token).decode("utf-8", "surrogatepass") if token else ""


def _token(query: Query, after: bytes) -> str:
    return base64.urlsafe_b64encode(after + _check(query, after)).decode("ascii")


def _after(query: Query, token: str) -> bytes:
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    after, check = raw[:-_CHECK_BYTES], raw[-_CHECK_BYTES:]
    if check != _check(query, after):
        raise _refused()
    return after


def _check(query: Query, after: bytes) -> bytes:
    check = hashlib.blake2b(after, digest_size=_CHECK_BYTES, person=b"recsys.v1 page")
    for part in map(_encoded, query):
        # With its length, or ("ab", "c") and ("a", "bc") would be one query.
        check.update(_AFTER.pack(len(part)) + part)
    return check.digest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _refused() -> InvalidRequest:
    return InvalidRequest(
        "page_token must be the next_page_token of the same query's list, got another:"
        " begin again with an empty one",
        field="page_token",
        reason=Reason.PAGE_TOKEN_INVALID,
    )
