"""`recsys choose`: record one act of a user."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from recsys.cli.images import NamedImage, read_images
from recsys.cli.invocation import opened_client, read_settings
from recsys.cli.options import JSON, SERVER
from recsys.cli.output import printable, show_json
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from recsys.images.decode import ImageLimits
    from recsys.settings import Settings
    from storage.records import Appended, NewImages


@dataclass(frozen=True, slots=True)
class Act:
    """What a person typed: the liked picture first, if `has_liked`."""

    user: str
    pictures: list[NamedImage]
    has_liked: bool
    prompt: str
    request_id: str | None


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
@SERVER
@JSON
def command(
    user: str,
    liked: str | None,
    passed_over: tuple[str, ...],
    prompt: str,
    request_id: str | None,
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
    pictures = read_images(names, max_bytes=settings.max_image_bytes)
    act = Act(user, pictures, liked is not None, prompt, request_id)
    appended = _append_here(act, settings) if server is None else _append_there(act, settings)
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


def _append_here(act: Act, settings: "Settings") -> "Appended":
    from storage.records import Choice

    images: NewImages = {}
    with Runtime(settings, creates=True) as runtime:
        digests = [_admit(picture, images, runtime.image_limits) for picture in act.pictures]
        choice = Choice(
            user_id=act.user,
            liked=digests[0] if act.has_liked else None,
            passed_over=tuple(digests[1:] if act.has_liked else digests),
            prompt=act.prompt,
            chosen_at=datetime.now(UTC),
            source="cli",
            request_id=act.request_id,
        )
        return runtime.store.append(choice, images)


def _append_there(act: Act, settings: "Settings") -> "Appended":
    with opened_client(settings) as client:
        sources = [_source(picture) for picture in act.pictures]
        return client.record_choice(
            act.user,
            liked=sources[0] if act.has_liked else None,
            passed_over=sources[1:] if act.has_liked else sources,
            prompt=act.prompt,
            request_id=act.request_id,
        )


def _source(picture: NamedImage) -> bytes | str:
    return _digest(picture) if picture.data is None else picture.data


def _digest(picture: NamedImage) -> str:
    assert picture.sha256 is not None  # a picture has bytes or a digest
    return picture.sha256


def _admit(picture: NamedImage, images: "NewImages", limits: "ImageLimits") -> str:
    """Return the picture's SHA-256; a file that is an image joins `images`."""
    from recsys.errors import ImageRefused
    from recsys.images.decode import admit

    if picture.data is None:
        return _digest(picture)
    try:
        facts = admit(picture.data, limits)
    except ImageRefused as error:
        raise ImageRefused(f"{printable(picture.name)}: {error}") from error
    images[facts.sha256] = (facts, picture.data)
    return facts.sha256
