"""What cannot be undone is asked for, and it is kept who asked."""

import getpass
import os

import click

from recsys.cli.failures import ExitCode, Failure


def confirm(question: str, *, undone: str) -> None:
    """Go on only after a yes.

    Args:
        question: what is about to be done.
        undone: what is said otherwise, such as "nothing was erased".

    Raises:
        Failure: after any other answer, none, or Ctrl-C.
    """
    try:
        is_sure = click.confirm(question, err=True)
    except click.Abort as error:  # Ctrl-C, or no terminal to answer at
        if isinstance(error.__context__, KeyboardInterrupt):
            raise Failure(f"stopped by Ctrl-C: {undone}", ExitCode.INTERRUPTED) from error
        is_sure = False
    if not is_sure:
        raise Failure(f"{undone}: answer y, or pass --yes")


def system_user() -> str:
    """Return the name of the system's user, or the number where it has none."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container may run under a number that has no name
        return f"uid {os.getuid()}"
