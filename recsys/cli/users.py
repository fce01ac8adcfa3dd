"""`recsys users`: show, export, erase and restore a user, and keep their consent."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

from recsys.cli.confirmation import confirm, system_user
from recsys.cli.failures import Failure
from recsys.cli.invocation import opened_client, read_settings
from recsys.cli.options import JSON, SERVER
from recsys.cli.output import printable, show_json, show_table
from recsys.cli.progress import waiting
from recsys.counts import counted
from recsys.runtime import Runtime
from storage.errors import AlreadyErased
from storage.rules import is_told

if TYPE_CHECKING:
    from storage.records import ConsentUpdate, Erased, Tombstone, UserSummary


@click.group("users")
def command() -> None:
    """Show, export or erase a user, and keep their consent."""


@command.command("show")
@click.argument("user")
@SERVER
@JSON
def show(user: str, server: str | None, is_json: bool) -> None:
    """Show how much is stored of USER; exit code 3 for an unknown user.

    When USER last chose is unknown where an import told no times; with --json it is null then.
    """
    with _opened(server) as users:
        summary = users.get(user)
    last = summary.last_choice_at
    is_unknown = last is not None and not is_told(last)
    shown = {
        "user_id": summary.user_id,
        "revision": summary.revision,
        "num_choices": summary.num_choices,
        "num_pairs": summary.num_pairs,
        "created_at": summary.created_at.isoformat(),
        "last_choice_at": last.isoformat() if last and not is_unknown else None,
        "personalize": summary.consent.personalize,
        "learn_from": summary.consent.learn_from,
    }
    if is_json:
        show_json(shown)
    else:
        shown |= {"last_choice_at": "unknown"} if is_unknown else {}
        show_table(["property", "value"], [(name, str(value)) for name, value in shown.items()])


@command.command("erase")
@click.argument("user")
@click.option("--yes", "is_sure", is_flag=True, help="Erase without asking for confirmation.")
@click.option(
    "--by", help="Who asks for the erasure, kept with its date; the system's user by default."
)
@SERVER
@JSON
def erase(user: str, is_sure: bool, by: str | None, server: str | None, is_json: bool) -> None:
    """Erase USER: choices, signatures, and images that no other user refers to.

    Snapshots of the index go, and exported clusters are rewritten. What still holds something of
    USER is told, a line each, and told again for a USER who is erased already.

    USER is not stored again, neither by an import nor by a product, before `recsys users restore`.
    A running server drops within seconds what it holds of USER in memory; with --server, at once.
    """
    if by is not None and server is not None:
        raise click.UsageError("--by cannot go with --server: a server writes that it was called")
    with _opened(server, by or "") as users:
        if not is_sure:
            choices = counted(users.get(user).num_choices, "choice")
            question = f"Erase {printable(user)} and {choices}? This cannot be undone."
            confirm(question, undone="nothing was erased")
        try:
            erased = users.erase(user)
        except AlreadyErased as error:
            _tell_remnants(user, error.remnants)
            raise
    if is_json:
        show_json(
            {
                "user_id": user,
                "num_choices": erased.num_choices,
                "num_signatures": erased.num_signatures,
                "num_images": erased.num_images,
                "num_bytes": erased.num_bytes,
                "rewritten_exports": erased.rewritten_exports,
                "remnants": erased.remnants,
            }
        )
        return
    click.echo(
        f"{printable(user)} is erased: {counted(erased.num_choices, 'choice')},"
        f" {counted(erased.num_signatures, 'signature')} and"
        f" {counted(erased.num_images, 'image')} ({counted(erased.num_bytes, 'byte')})"
    )
    _tell_exports(user, erased.rewritten_exports)
    _tell_remnants(user, erased.remnants)


def _tell_exports(user: str, folders: tuple[str, ...]) -> None:
    for folder in folders:
        click.echo(f"rewritten without {printable(user)}: {printable(folder)}")


def _tell_remnants(user: str, remnants: tuple[str, ...]) -> None:
    for remnant in remnants:
        click.echo(f"still holds something of {printable(user)}: {printable(remnant)}", err=True)


@command.command("restore")
@click.argument("user")
@SERVER
@JSON
def restore(user: str, server: str | None, is_json: bool) -> None:
    """Let USER, who was erased, be stored again; what was erased stays erased."""
    with _opened(server) as users:
        tombstone = users.restore(user)
    if is_json:
        erased_at = tombstone.erased_at.isoformat()
        show_json({"user_id": user, "erased_at": erased_at, "erased_by": tombstone.erased_by})
        return
    click.echo(
        f"{printable(user)}, erased on {tombstone.erased_at:%Y-%m-%d at %H:%M} UTC by"
        f" {printable(tombstone.erased_by or 'nobody named')}, may be stored again"
    )


@command.command("consent")
@click.argument("user")
@click.option(
    "--personalize/--no-personalize",
    default=None,
    help="Whether to rank by the user's choices and read a signature from them.",
)
@click.option(
    "--learn-from/--no-learn-from",
    default=None,
    help="Whether to learn from the user's choices what others see.",
)
@SERVER
@JSON
def consent(
    user: str,
    personalize: bool | None,
    learn_from: bool | None,
    server: str | None,
    is_json: bool,
) -> None:
    """Set what USER allows, also before a first choice; choices are kept.

    A user who is not personalised is ranked as one without a history. Their signatures are removed,
    and none is computed. A user who is not learned from is left out of training, cold start, first
    questions and clusters, as those are next made; a trained checkpoint stays as it is. Either
    takes USER out of clusters, also of exported ones; exports that were not reached are told.

    A running server may still hold computed values of the user in memory, and
    does not use them; set it through the server, with --server, to drop them.
    """
    if personalize is None and learn_from is None:
        raise click.UsageError("pass --[no-]personalize, --[no-]learn-from or both")
    with _opened(server) as users:
        allowed = users.update_consent(user, personalize=personalize, learn_from=learn_from)
    if is_json:
        show_json({"user_id": user, **asdict(allowed)})
        return
    is_personal, is_learned = allowed.personalize, allowed.learn_from
    click.echo(
        f"{printable(user)} is {'' if is_personal else 'not '}personalised and"
        f" {'may' if is_learned else 'may not'} be learned from"
    )
    _tell_exports(user, allowed.rewritten_exports)
    _tell_remnants(user, allowed.remnants)


@command.command("export")
@click.argument("user")
@click.option(
    "--out",
    "path",
    type=click.Path(dir_okay=False, path_type=Path),
    required=True,
    help="ZIP file to write; one that is there is not written over.",
)
@JSON
def export(user: str, path: Path, is_json: bool) -> None:
    """Write everything that is held on USER to a ZIP file.

    Choices, images, signatures, the ledger of backfills, clusters and consents; README.txt in it
    says what each file is. Only you can read the file. Exit code 3 for an unknown user.
    """
    if path.exists():
        raise Failure(f"{path} must not be there yet: name another file, or remove it")
    with Runtime(read_settings()) as runtime, waiting("Exporting"):
        from storage.exporting import export_user

        store = runtime.store
        exported = export_user(store.database, store.blobs, user, path)
    if is_json:
        show_json({"user_id": user, "path": str(path), **asdict(exported)})
        return
    lost = f"; the bytes of {counted(exported.num_lost, 'image')} are lost"
    click.echo(
        f"{printable(path)} holds {counted(exported.num_choices, 'choice')},"
        f" {counted(exported.num_images, 'image')} and"
        f" {counted(exported.num_signatures, 'signature')} of {printable(user)}"
        f"{lost if exported.num_lost else ''}"
    )


class _Users(NamedTuple):
    """What can be done to a user, in storage or by a server."""

    get: "Callable[[str], UserSummary]"
    erase: "Callable[[str], Erased]"
    restore: "Callable[[str], Tombstone]"
    update_consent: "Callable[..., ConsentUpdate]"


@contextmanager
def _opened(server: str | None, by: str = "") -> Iterator[_Users]:
    """Open storage, or a server where one is named.

    Args:
        server: its address.
        by: who erases in storage; the system's user where it is empty.
    """
    settings = read_settings(address=server)
    if server is None:
        with Runtime(settings) as runtime:
            from recsys.erasure.opt_out import update_consent

            store = runtime.store
            erase = partial(runtime.eraser.erase, by=by or system_user())
            update = partial(update_consent, store, runtime.consents)
            yield _Users(store.user, erase, store.restore, update)
    else:
        with opened_client(settings) as client:
            yield _Users(
                client.get_user, client.erase_user, client.restore_user, client.update_consent
            )
