"""`recsys users`: show what is stored of a user, and erase it."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import click

from recsys.cli.failures import ExitCode, Failure
from recsys.cli.invocation import opened_client, read_settings
from recsys.cli.options import JSON, SERVER
from recsys.cli.output import printable, show_json, show_table
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from storage.records import Erased, UserSummary


@click.group("users")
def command() -> None:
    """Show what is stored of a user, or erase it."""


@command.command("show")
@click.argument("user")
@SERVER
@JSON
def show(user: str, server: str | None, is_json: bool) -> None:
    """Show how much is stored of USER; exit code 3 for an unknown user."""
    with _opened(server) as (summary_of, _):
        summary = summary_of(user)
    last = summary.last_choice_at
    shown = {
        "user_id": summary.user_id,
        "revision": summary.revision,
        "num_choices": summary.num_choices,
        "num_pairs": summary.num_pairs,
        "created_at": summary.created_at.isoformat(),
        "last_choice_at": last.isoformat() if last else None,
    }
    if is_json:
        show_json(shown)
    else:
        show_table(["property", "value"], [(name, str(value)) for name, value in shown.items()])


@command.command("erase")
@click.argument("user")
@click.option("--yes", "is_sure", is_flag=True, help="Erase without asking for confirmation.")
@SERVER
@JSON
def erase(user: str, is_sure: bool, server: str | None, is_json: bool) -> None:
    """Erase USER: choices, signatures, and images that no other user refers to.

    A running server may still hold computed values of the user in memory: while one runs, erase
    through it, with --server.
    """
    with _opened(server) as (summary_of, erase_all):
        if not is_sure:
            _ask(user, summary_of(user).num_choices)
        erased = erase_all(user)
    if is_json:
        show_json(
            {
                "user_id": user,
                "num_choices": erased.num_choices,
                "num_signatures": erased.num_signatures,
                "num_images": erased.num_images,
                "num_bytes": erased.num_bytes,
            }
        )
        return
    click.echo(
        f"{printable(user)} is erased: {erased.num_choices:,} choices,"
        f" {erased.num_signatures:,} signatures and {erased.num_images:,} images"
        f" ({erased.num_bytes:,} bytes)"
    )


@contextmanager
def _opened(
    server: str | None,
) -> "Iterator[tuple[Callable[[str], UserSummary], Callable[[str], Erased]]]":
    """Yield how to read a user's summary and how to erase one: in storage, or by a server."""
    settings = read_settings(address=server)
    if server is None:
        with Runtime(settings) as runtime:
            yield runtime.store.user, runtime.store.erase
    else:
        with opened_client(settings) as client:
            yield client.get_user, client.erase_user


def _ask(user: str, num_choices: int) -> None:
    question = f"Erase {printable(user)} and {num_choices:,} choices? This cannot be undone."
    try:
        is_sure = click.confirm(question, err=True)
    except click.Abort as error:  # Ctrl-C, or no terminal to answer at
        if isinstance(error.__context__, KeyboardInterrupt):
            raise Failure("stopped by Ctrl-C: nothing was erased", ExitCode.INTERRUPTED) from error
        is_sure = False
    if not is_sure:
        raise Failure("nothing was erased: answer y, or pass --yes")
