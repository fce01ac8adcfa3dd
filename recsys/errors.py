"""The package's own errors, a tree:

    RecsysError
    ├── InvalidRequest        a request that breaks a rule: names field, rule and remedy
    │   └── ImageRefused      bytes that are not an acceptable image
    ├── NotFound              a user, image or checkpoint that does not exist
    ├── PreconditionFailed    something that the call needs is missing
    │   └── ErasedUser        a user who was erased, of whom nothing is stored
    ├── CheckpointRefused     a checkpoint that is missing, damaged or of another base
    ├── SettingsRefused       a setting that is unknown or invalid (also a ValueError)
    ├── Overloaded            a full queue, or one too long for the deadline
    ├── DeadlinePassed        the caller's deadline has passed
    └── Unavailable           loading, draining, unreachable or another server: use a fallback

Storage has its own errors, in storage/errors.py. A message says in one sentence what must hold,
what arrived and what to do.
"""

from recsys.reasons import Reason


class RecsysError(Exception):
    """Base of all errors that this package raises on purpose.

    Args:
        message: what must hold, what arrived and what to do.
        reason: why, for programs; None for the class's own.
        field: path of the field at fault in the protocol's request message, e.g.
            "candidates[2].image.data"; empty where there is no such field.

    Attributes:
        reason: a `Reason`; of a call to a newer server perhaps another text.
        field: as given.
    """

    reason: str = Reason.INTERNAL

    def __init__(self, message: str, *, reason: str | None = None, field: str = "") -> None:
        super().__init__(message)
        self.reason = reason or self.reason
        self.field = field


class InvalidRequest(RecsysError, ValueError):
    """A request that breaks a rule."""

    reason = Reason.INVALID_REQUEST


class ImageRefused(InvalidRequest):
    """Bytes that are not an acceptable image: of a wrong type, too large or truncated."""

    reason = Reason.IMAGE_CORRUPT


class NotFound(RecsysError, LookupError):
    """A user, image or checkpoint that does not exist."""

    reason = Reason.NOT_FOUND


class PreconditionFailed(RecsysError):
    """Something that the call needs is missing; the message says how to provide it."""

    reason = Reason.PRECONDITION_FAILED


class ErasedUser(PreconditionFailed):
    """A choice, consent or question of a user who was erased; a server stores nothing of them."""

    reason = Reason.USER_ERASED


class CheckpointRefused(RecsysError):
    """A checkpoint that is missing, damaged or made for another base model."""


class SettingsRefused(RecsysError, ValueError):
    """A setting that is unknown or invalid; the message says where its value came from."""


class Overloaded(RecsysError):
    """The queue is full, or too long for the caller's deadline.

    Args:
        message: what is full.
        reason: as of `RecsysError`.
        retry_after_s: when to try again, in seconds, at least 0.
    """

    reason = Reason.OVERLOADED

    def __init__(
        self, message: str, *, reason: str | None = None, retry_after_s: float = 1.0
    ) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s


class DeadlinePassed(RecsysError):
    """The caller's deadline has passed; any result is discarded.

    Attributes:
        retry_after_s: None, for nobody knows how long the answer would have taken.
    """

    reason = Reason.DEADLINE_PASSED
    retry_after_s: float | None = None


class Unavailable(RecsysError):
    """The server is loading, draining or unreachable, or another one answers at its address.

    But for the last, the same call may succeed later.

    Args:
        message: what is not there.
        reason: as of `RecsysError`.
        retry_after_s: when to try again, in seconds, at least 0; None where that is not known.
    """

    reason = Reason.UNAVAILABLE

    def __init__(
        self, message: str, *, reason: str | None = None, retry_after_s: float | None = None
    ) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_s = retry_after_s
