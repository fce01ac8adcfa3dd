"""`recsys choose`: record one act of a user."""

from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from recsys.commands.opened import opened_store, read_settings
from recsys.commands.pictures import Picture, read_pictures
from recsys.commands.shown import printable, show_json

if TYPE_CHECKING:
    from recsys.settings import Settings
    from storage.records import Appended, ImageFacts

NewImages = dict[str, tuple["ImageFacts", bytes]]


@click.command("choose")
@click.option("--user", required=True, help="Who chose, 1 to 256 characters.")
@click.option("--liked", metavar="IMAGE", help="What was liked: a file or a stored SHA-256.")
@click.option(
    "--passed-over", metavar="IMAGE", multiple=True, help="What was not liked. Repeatable."
)
@click.option("--prompt", default="", help="What the images were made from.")
@click.option("--request-id", help="Unique per act: a repeat is stored once.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
def command(
    user: str,
    liked: str | None,
    passed_over: tuple[str, ...],
    prompt: str,
    request_id: str | None,
    is_json: bool,
) -> None:
    """Record which image a user liked and which were passed over.

    It goes into storage; a running server that reads the same storage ranks by it from the next
    request on.
    """
    if liked is None and not passed_over:
        raise click.UsageError("nothing was chosen: pass --liked, --passed-over or both")
    settings = read_settings()
    appended = _append(
        settings,
        user=user,
        liked=liked,
        passed_over=passed_over,
        prompt=prompt,
        request_id=request_id,
    )
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


def _append(
    settings: "Settings",
    *,
    user: str,
    liked: str | None,
    passed_over: tuple[str, ...],
    prompt: str,
    request_id: str | None,
) -> "Appended":
    from storage.records import Choice

    names = passed_over if liked is None else (liked, *passed_over)
    pictures = read_pictures(names, max_bytes=settings.max_image_bytes)
    images: NewImages = {}
    shas = [_admit(picture, images, settings) for picture in pictures]
    choice = Choice(
        user_id=user,
        liked=None if liked is None else shas[0],
        passed_over=tuple(shas if liked is None else shas[1:]),
        prompt=prompt,
        chosen_at=datetime.now(UTC),
        source="cli",
        request_id=request_id,
    )
    with opened_store(settings, creates=True) as store:
        return store.append(choice, images)


def _admit(picture: Picture, images: NewImages, settings: "Settings") -> str:
    """Return the picture's SHA-256; a file that is an image joins `images`."""
    from recsys.errors import ImageRefused
    from recsys.images import ImageLimits, inspect

    if picture.data is None:
        assert picture.sha256 is not None
        return picture.sha256
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    try:
        facts = inspect(picture.data, limits)
    except ImageRefused as error:
        raise ImageRefused(f"{printable(picture.name)}: {error}") from error
    images[facts.sha256] = (facts, picture.data)
    return facts.sha256
