"""The package's own errors, a tree:

    RecsysError
    ├── InvalidRequest        the caller's message breaks a stated rule (field, rule, remedy)
    │   └── ImageRefused      bytes that are not an image this system accepts
    ├── NotFound              a user, image or checkpoint that does not exist
    ├── PreconditionFailed    what is asked for needs something that is not there yet
    ├── CheckpointRefused     a checkpoint that is missing, damaged or made for another base
    ├── SettingsRefused       a setting that is unknown or breaks its rule (also a ValueError)
    ├── Overloaded            queue full, or the wait is longer than the time left
    ├── DeadlinePassed        the caller's time is over
    └── Unavailable           loading, draining or unreachable; the same call may succeed later

Storage has errors of its own (storage/errors.py), for it imports nothing from here.
A message says what must hold, what arrived and what to do, in one sentence.
"""


class RecsysError(Exception):
    """Anything this package raises on purpose."""


class InvalidRequest(RecsysError, ValueError):
    """The caller's message breaks a stated rule.

    Args:
        message: what must hold, what arrived and what to do.
        field: path of the offending field in the request, e.g. "candidates[2].image".
    """

    def __init__(self, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.field = field


class ImageRefused(InvalidRequest):
    """Bytes that are not an image this system accepts: wrong type, too large, truncated."""


class NotFound(RecsysError, LookupError):
    """A user, image or checkpoint that does not exist."""


class PreconditionFailed(RecsysError):
    """What is asked for needs something that is not there yet; the message tells the remedy."""


class CheckpointRefused(RecsysError):
    """A checkpoint that is missing, damaged or made for another base; the message names it."""


class SettingsRefused(RecsysError, ValueError):
    """A setting that is unknown or breaks its rule; the message names it and where it came from."""


class Overloaded(RecsysError):
    """Queue full, or the wait is longer than the time left.

    Args:
        message: what is full.
        retry_after_s: a hint when to come back, seconds, at least 0.
    """

    def __init__(self, message: str, *, retry_after_s: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_s = retry_after_s


class DeadlinePassed(RecsysError):
    """The caller's time is over; nothing was computed, or what was is thrown away."""


class Unavailable(RecsysError):
    """Loading, draining or unreachable; the same call may succeed later."""
