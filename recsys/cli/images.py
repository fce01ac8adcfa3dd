"""`recsys images`: take images down, keep them out, and mark what others may be shown."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import click

from recsys.cli.confirmation import confirm, system_user
from recsys.cli.invocation import opened_client, read_settings
from recsys.cli.named_images import digest_of
from recsys.cli.options import JSON, SERVER
from recsys.cli.output import printable, show_json, show_table
from recsys.counts import counted
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from storage.records import BlockedImage, Takedown
    from storage.takedowns import ImageTakedowns

IMAGE = click.argument("image")
YES = click.option("--yes", "is_sure", is_flag=True, help="Remove without asking for confirmation.")
IMAGES = click.argument("images", metavar="IMAGE...", nargs=-1)
ALL = click.option("--all", "is_all", is_flag=True, help="Every image that is stored now.")
_AT_ONCE = 1000


@click.group("images")
def command() -> None:
    """Take images down, keep them out, and say which others may see.

    An IMAGE is a file, or the SHA-256 of its bytes.
    """


@command.command("remove")
@IMAGE
@YES
@SERVER
@JSON
def remove(image: str, is_sure: bool, server: str | None, is_json: bool) -> None:
    """Remove IMAGE from storage, choices, first questions and clusters.

    A choice that liked it is removed; from one that passed it over, it is taken out. It may be
    stored again: `recsys images block` keeps it out as well. While a server runs, remove through
    it, with --server, so that its memory drops what it has read from the image.
    """
    sha256 = digest_of(image)
    with _opened(server) as images:
        if not is_sure:
            _ask("Remove", sha256)
        removed = images.remove(sha256)
    _tell_removed(sha256, removed, is_json=is_json)


@command.command("block")
@IMAGE
@click.option("--reason", default="", help="Why it is blocked, at most 1,000 characters.")
@click.option("--by", help="Who asks for it, kept with the date; the system's user by default.")
@YES
@SERVER
@JSON
def block(
    image: str, reason: str, by: str | None, is_sure: bool, server: str | None, is_json: bool
) -> None:
    """Remove IMAGE, if it is stored, and accept it nowhere again.

    Imports leave rows with it out and count them, a choice that shows it is refused, and in a
    ranking it gets no score. Servers that run learn of it.
    """
    if by is not None and server is not None:
        raise click.UsageError("--by cannot go with --server: a server writes that it was called")
    sha256 = digest_of(image)
    with _opened(server, by or "", creates=True) as images:
        if not is_sure:
            _ask("Remove and block", sha256)
        removed = images.block(sha256, reason=reason)
    _tell_removed(sha256, removed, is_json=is_json, is_blocked=True)


@command.command("unblock")
@IMAGE
@SERVER
@JSON
def unblock(image: str, server: str | None, is_json: bool) -> None:
    """Accept IMAGE again; what was removed stays removed.

    Where its takedown is unfinished, what is left of it is in use again, and this is said. `recsys
    images remove` removes that.
    """
    sha256 = digest_of(image)
    with _opened(server) as images:
        was = images.unblock(sha256)
    if is_json:
        show_json(_blocked_json(was))
        return
    click.echo(
        f"image {sha256}, blocked on {was.blocked_at:%Y-%m-%d at %H:%M} UTC by"
        f" {printable(was.blocked_by or 'nobody named')}, may be stored again"
    )
    if was.is_unfinished:
        click.echo(
            "its takedown was unfinished, so the image is still stored and in use again: to remove"
            f" it, run recsys images remove {sha256}",
            err=True,
        )


@command.command("blocked")
@SERVER
@JSON
def blocked(server: str | None, is_json: bool) -> None:
    """List the blocked images, with when, by whom and why.

    One that is still stored, for its takedown goes on or was interrupted, is called unfinished.
    Nothing reads it or shows it; a server, `recsys prune`, or blocking it again finishes it.
    """
    with _opened(server) as opened:
        images = list(opened.list_blocked())
    if is_json:
        show_json([_blocked_json(each) for each in images])
        return
    show_table(
        ["SHA-256", "blocked (UTC)", "takedown", "by", "reason"], [_cells(each) for each in images]
    )


@command.command("share")
@IMAGES
@ALL
def share(images: tuple[str, ...], is_all: bool) -> None:
    """Mark each IMAGE as shareable: other users may be shown it.

    Nobody is shown one that fewer people than the setting share_min_users have seen.
    """
    _mark(images, is_all=is_all, shareable=True)


@command.command("unshare")
@IMAGES
@ALL
def unshare(images: tuple[str, ...], is_all: bool) -> None:
    """Take the mark from each IMAGE: no other user is shown it from now on."""
    _mark(images, is_all=is_all, shareable=False)


def _mark(images: tuple[str, ...], *, is_all: bool, shareable: bool) -> None:
    if is_all == bool(images):
        raise click.UsageError("images must be named, or all be meant: pass IMAGE... or --all")
    sha256s = None if is_all else [digest_of(image) for image in images]
    with Runtime(read_settings()) as runtime:
        from storage.sharing import ImageSharing

        num_changed = ImageSharing(runtime.store.database).mark(sha256s, shareable=shareable)
    how = "marked as shareable" if shareable else "no longer marked as shareable"
    verb = "is" if num_changed == 1 else "are"
    click.echo(f"{counted(num_changed, 'image')} {verb} {how}")


class _Images(NamedTuple):
    """What can be done to an image, in storage or by a server."""

    remove: "Callable[[str], Takedown]"
    block: "Callable[..., Takedown]"
    unblock: "Callable[[str], BlockedImage]"
    list_blocked: "Callable[[], Iterable[BlockedImage]]"


@contextmanager
def _opened(server: str | None, by: str = "", *, creates: bool = False) -> Iterator[_Images]:
    """Open storage, or a server where one is named.

    Args:
        server: its address.
        by: who blocks in storage; the system's user where it is empty.
        creates: make the storage if there is none yet.
    """
    settings = read_settings(address=server)
    if server is None:
        with Runtime(settings, creates=creates) as runtime:
            store, eraser = runtime.takedowns, runtime.image_eraser
            block = partial(eraser.block, by=by or system_user())
            listed = partial(_all_blocked, store)
            yield _Images(eraser.remove, block, store.unblock, listed)
    else:
        with opened_client(settings) as client:
            images = client.images
            yield _Images(images.remove, images.block, images.unblock, images.list_blocked)


def _all_blocked(store: "ImageTakedowns") -> "Iterator[BlockedImage]":
    after = ""
    while page := store.list_blocked(after=after, limit=_AT_ONCE):
        yield from page
        after = page[-1].sha256


def _ask(verb: str, sha256: str) -> None:
    question = f"{verb} image {sha256} from every choice that shows it? This cannot be undone."
    confirm(question, undone="nothing was removed")


def _tell_removed(
    sha256: str, removed: "Takedown", *, is_json: bool, is_blocked: bool = False
) -> None:
    if is_json:
        show_json({"sha256": sha256, "is_blocked": is_blocked, **asdict(removed)})
        return
    click.echo(
        f"image {sha256} is removed{' and blocked' if is_blocked else ''}:"
        f" {counted(removed.num_choices, 'choice')} and {counted(removed.num_images, 'image')}"
        f" ({counted(removed.num_bytes, 'byte')}) are gone, and it was taken out of"
        f" {counted(removed.num_shortened, 'other choice')}"
    )
    for folder in removed.rewritten_exports:
        click.echo(f"rewritten without it: {printable(folder)}")
    for remnant in removed.remnants:
        click.echo(f"still names it: {printable(remnant)}", err=True)


def _cells(image: "BlockedImage") -> tuple[str, ...]:
    takedown = "unfinished" if image.is_unfinished else "done"
    at = f"{image.blocked_at:%Y-%m-%d %H:%M}"
    return image.sha256, at, takedown, image.blocked_by, image.reason


def _blocked_json(image: "BlockedImage") -> dict[str, str | bool]:
    return {
        "sha256": image.sha256,
        "blocked_at": image.blocked_at.isoformat(),
        "blocked_by": image.blocked_by,
        "reason": image.reason,
        "is_unfinished": image.is_unfinished,
    }
