"""Page tokens (AIP-158): where to go on, bound to the query that they were made for."""

import base64
import hashlib
import struct

from recsys.errors import InvalidRequest

DEFAULT_SIZE = 100
MAX_SIZE = 1000

_AFTER = struct.Struct(">q")
_CHECK_BYTES = 16


def page_size(asked: int) -> int:
    """Return how many to list at most.

    Args:
        asked: 0 for the default; more than the maximum counts as the maximum.

    Raises:
        InvalidRequest: if it is negative.
    """
    if asked < 0:
        raise InvalidRequest(f"page_size must be at least 0, got {asked}", field="page_size")
    return min(asked or DEFAULT_SIZE, MAX_SIZE)


def token_of(user_id: str, after_choice_id: int) -> str:
    """Make the token that goes on after a choice of a user.

    The check is no secret: it keeps a token of another user's list, or a damaged one, from being
    taken for a place in this list. A token names nothing that its bearer could not list anyway.
    """
    after = _AFTER.pack(after_choice_id)
    return base64.urlsafe_b64encode(after + _check(user_id, after)).decode("ascii")


def after_of(user_id: str, token: str) -> int:
    """Return the choice after which a token goes on; 0 for an empty token.

    Raises:
        InvalidRequest: if the token was not made for this user's list.
    """
    if not token:
        return 0
    try:
        raw = base64.b64decode(token, altchars=b"-_", validate=True)
    except ValueError:
        raw = b""
    after, check = raw[: _AFTER.size], raw[_AFTER.size :]
    if len(raw) != _AFTER.size + _CHECK_BYTES or check != _check(user_id, after):
        raise InvalidRequest(
            "page_token must be the next_page_token of the same user's list, got another:"
            " begin again with an empty one",
            field="page_token",
        )
    (choice_id,) = _AFTER.unpack(after)
    return int(choice_id)


def _check(user_id: str, after: bytes) -> bytes:
    text = user_id.encode("utf-8", "surrogatepass")
    return hashlib.blake2b(
        after + text, digest_size=_CHECK_BYTES, person=b"ListChoices.v1"
    ).digest()
