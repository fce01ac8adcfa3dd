"""Errors as one sentence on standard error, and an exit code that scripts can rely on."""

import errno
from enum import IntEnum

import click

from recsys import errors
from storage import errors as storage_errors


class ExitCode(IntEnum):
    """What each exit code means."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    UNAVAILABLE = 4
    PARTLY = 5
    INTERRUPTED = 130


EXIT_CODES = """\b
Exit codes:
    0  done
    1  failed: the message says why
    2  invalid command, setting or input
    3  a user, image, file or folder does not exist
    4  a server or the database is unreachable or busy: try again later
    5  partly done: some images could not be ranked, signatures not
       computed, rows not imported (--strict), or a checkpoint was
       written without cold start
  130  stopped by Ctrl-C: what is stored already is kept
"""

_CODES: tuple[tuple[type[Exception], ExitCode], ...] = (
    (errors.InvalidRequest, ExitCode.USAGE),
    (errors.SettingsRefused, ExitCode.USAGE),
    (errors.NotFound, ExitCode.NOT_FOUND),
    (errors.Overloaded, ExitCode.UNAVAILABLE),
    (errors.DeadlinePassed, ExitCode.UNAVAILABLE),
    (errors.Unavailable, ExitCode.UNAVAILABLE),
    (errors.RecsysError, ExitCode.FAILED),
    (storage_errors.InvalidRecord, ExitCode.USAGE),
    (storage_errors.UnknownUser, ExitCode.NOT_FOUND),
    (storage_errors.UnknownImage, ExitCode.NOT_FOUND),
    (storage_errors.UnknownCluster, ExitCode.NOT_FOUND),
    (storage_errors.StorageUnavailable, ExitCode.UNAVAILABLE),
    (storage_errors.StorageError, ExitCode.FAILED),
    (FileNotFoundError, ExitCode.NOT_FOUND),
    (OSError, ExitCode.FAILED),
)


_DRIVER_ERRORS = "sqlalchemy.exc"
"""By name, not by class: only storage knows the library, and help must not wait for it."""


class Failure(click.ClickException):
    """An error that ends a command: a sentence and an exit code.

    Args:
        message: what must hold, what arrived and what to do.
        code: the command's exit code.
    """

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.exit_code = int(code)  # type: ignore[misc]  # click reads it from the instance


def explained(error: Exception) -> Failure | None:
    """Return the failure that an expected error stands for; None for a bug."""
    if isinstance(error, storage_errors.StorageUnavailable) and error.__cause__ is not None:
        return _no_answer(getattr(error.__cause__, "orig", error.__cause__))
    for kind, code in _CODES:
        if isinstance(error, kind):
            return Failure(_sentence(error), code)
    if type(error).__module__ == _DRIVER_ERRORS and hasattr(error, "orig"):
        return _no_answer(error.orig)
    return None


def _no_answer(said: object) -> Failure:
    why = (str(said).splitlines() or ["no reason given"])[0]
    return Failure(f"the database does not answer as it should: {why}", ExitCode.UNAVAILABLE)


def _sentence(error: Exception) -> str:
    if not isinstance(error, OSError) or error.strerror is None:
        return str(error) or type(error).__name__
    where = f"{error.filename}: " if error.filename is not None else ""
    remedy = ": make room and run the same command again" if error.errno == errno.ENOSPC else ""
    return f"{where}{error.strerror.lower()}{remedy}"
