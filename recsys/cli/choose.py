"""`recsys choose`: record one act of a user."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from recsys.cli.invocation import opened_client, read_settings
from recsys.cli.named_images import read_images
from recsys.cli.options import JSON, SERVER, SHAREABLE
from recsys.cli.output import printable, show_json
from recsys.recording import NewChoice, check_new_choice
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from recsys.settings import Settings
    from storage.records import Appended

SOURCE = "cli"


@click.command("choose")
@click.option("--user", required=True, help="Id of the user who chose, 1 to 256 characters.")
@click.option(
    "--liked", metavar="IMAGE", help="Liked image: a file, or the SHA-256 of a stored image."
)
@click.option(
    "--passed-over",
    metavar="IMAGE",
    multiple=True,
    help="Image passed over, named likewise. Repeatable.",
)
@click.option("--prompt", default="", help="Prompt that the images were generated from.")
@click.option(
    "--request-id", help="Unique id of this choice: sent again with the same id, it is stored once."
)
@SHAREABLE
@SERVER
@JSON
def command(
    user: str,
    liked: str | None,
    passed_over: tuple[str, ...],
    prompt: str,
    request_id: str | None,
    shareable: bool,
    server: str | None,
    is_json: bool,
) -> None:
    """Record which image a user liked and which were passed over.

    A running server that reads the same storage takes the choice into account from the next
    request on.
    """
    if liked is None and not passed_over:
        raise click.UsageError("a choice needs an image: pass --liked, --passed-over or both")
    settings = read_settings(address=server)
    names = passed_over if liked is None else (liked, *passed_over)
    images = [each.source for each in read_images(names, max_bytes=settings.max_image_bytes)]
    new = NewChoice(
        user_id=user,
        liked=None if liked is None else images[0],
        passed_over=tuple(images if liked is None else images[1:]),
        prompt=prompt,
        request_id=request_id,
        shareable=shareable,
    )
    if server is None:
        fields = [f"passed_over[{place}]" for place in range(len(passed_over))]
        in_order = fields if liked is None else ["liked", *fields]
        appended = _append_here(new, dict(zip(in_order, names, strict=True)), settings)
    else:
        appended = _append_there(new, settings)
    stored = appended.stored
    if is_json:
        show_json(
            {
                "user_id": user,
                "choice_id": stored.choice_id,
                "revision": stored.revision,
                "repeated": appended.repeated,
            }
        )
    else:
        how = "was stored already" if appended.repeated else "is stored"
        who = printable(user)
        click.echo(f"choice {stored.choice_id} of {who} {how}, at revision {stored.revision}")


def _append_here(new: NewChoice, names: Mapping[str, str], settings: "Settings") -> "Appended":
    """Store a choice; messages call an image, by its field, what the person typed."""
    with Runtime(settings, creates=True) as runtime:
        shown = {field: printable(name) for field, name in names.items()}
        choice, images = check_new_choice(new, runtime.inspect_image, source=SOURCE, names=shown)
        return runtime.store.append(choice, images, shareable=new.shareable)


def _append_there(new: NewChoice, settings: "Settings") -> "Appended":
    with opened_client(settings) as client:
        return client.record_choice(
            new.user_id,
            liked=new.liked,
            passed_over=new.passed_over,
            prompt=new.prompt,
            request_id=new.request_id,
            shareable=new.shareable,
        )
