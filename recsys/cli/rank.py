"""`recsys rank`: images ranked by how much a user will like them."""

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from recsys.cli.failures import ExitCode
from recsys.cli.invocation import opened_client, read_settings
from recsys.cli.named_images import NamedImage, read_images
from recsys.cli.options import DEVICE, DTYPE, JSON
from recsys.cli.output import printable, show_json, show_table
from recsys.cli.progress import waiting
from recsys.counts import counted
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from recsys.ranking.candidates import Candidate, RankedCandidate, Ranking
    from recsys.settings import Settings


@click.command("rank")
@click.option(
    "--user", required=True, help="Id of the user to rank for; an unknown user is a cold start."
)
@click.argument("images", metavar="IMAGE...", nargs=-1, required=True)
@click.option("--prompt", default="", help="Prompt that the images were generated from.")
@click.option(
    "--audience",
    default="",
    help="Audience whose preference tokens score, by its name in the setting `audiences`; by"
    " default the checkpoint's own.",
)
@click.option(
    "--server", metavar="HOST:PORT", help="Server to call; the setting `address` by default."
)
@click.option(
    "--local", "is_local", is_flag=True, help="Call no server: load the scorer into this process."
)
@DEVICE
@DTYPE
@JSON
@click.pass_context
def command(
    ctx: click.Context,
    user: str,
    images: tuple[str, ...],
    prompt: str,
    audience: str,
    server: str | None,
    is_local: bool,
    device: str | None,
    dtype: str | None,
    is_json: bool,
) -> None:
    """Rank images by how much a user will like them.

    An IMAGE is a PNG, JPEG or WebP file, or the SHA-256 of a stored image. Images that cannot be
    ranked come last, with the reason; the exit code is then 5, or 1 if none could be ranked.
    """
    if server is not None and is_local:
        raise click.UsageError("--server and --local exclude each other: pass one")
    if not is_local and (device is not None or dtype is not None):
        raise click.UsageError("--device and --dtype are for a scorer in this process: add --local")
    settings = read_settings(address=server, device=device, dtype=dtype)
    pictures = read_images(images, max_bytes=settings.max_image_bytes)
    candidates = _candidates(pictures, prompt)
    rank = rank_here if is_local else rank_there
    ranking = _named(rank(user, candidates, settings, audience=audience), pictures)
    if is_json:
        show_json(as_json(ranking))
    else:
        _show(ranking)
    num_failed = sum(each.rank is None for each in ranking.candidates)
    if num_failed:
        ctx.exit(ExitCode.FAILED if num_failed == len(pictures) else ExitCode.PARTLY)


def rank_here(
    user: str, candidates: list["Candidate"], settings: "Settings", *, audience: str = ""
) -> "Ranking":
    """Rank with a scorer loaded into this process and the storage of the settings."""
    import asyncio

    with Runtime(settings, creates=True) as runtime:
        with waiting("Loading the scorer"):
            engine = runtime.engine()
            ranker = runtime.ranker(engine)

        async def rank() -> "Ranking":
            await engine.start()
            try:
                return await ranker.rank(user, candidates, audience=audience)
            finally:
                await engine.drain(0)

        with waiting("Ranking"):
            return asyncio.run(rank())


def rank_there(
    user: str, candidates: list["Candidate"], settings: "Settings", *, audience: str = ""
) -> "Ranking":
    """Rank by calling the server at the settings' address."""
    with waiting(f"Calling {settings.address}"), opened_client(settings) as client:
        return client.rank(user, candidates, audience=audience)


def as_json(ranking: "Ranking") -> dict[str, Any]:
    """Return a ranking as JSON; an image that could not be ranked has no score, and a reason."""
    return {
        "user_id": ranking.user_id,
        "model_version": ranking.model_version,
        "personalization": ranking.personalization.value,
        "num_references": ranking.num_references,
        "num_borrowed_references": ranking.borrowed.num_references,
        "num_neighbours": ranking.borrowed.num_neighbours,
        "population_version": ranking.borrowed.population_version,
        "is_opted_out": ranking.is_opted_out,
        "candidates": [_candidate_json(each) for each in ranking.candidates],
    }


def _candidate_json(candidate: "RankedCandidate") -> dict[str, Any]:
    shown = {"id": candidate.id, "score": candidate.score, "rank": candidate.rank}
    if candidate.rank is None:
        shown |= {
            "status": candidate.status.value,
            "reason": candidate.reason,
            "message": candidate.message,
        }
    return shown


def _candidates(pictures: list[NamedImage], prompt: str) -> list["Candidate"]:
    from recsys.ranking.candidates import Candidate

    # Numbered: a path may be longer than an id, or hold bytes that are no text.
    return [
        Candidate(str(index), prompt, image=picture.data, sha256=picture.sha256)
        for index, picture in enumerate(pictures)
    ]


def _named(ranking: "Ranking", pictures: list[NamedImage]) -> "Ranking":
    """Call each candidate by what the person typed."""
    named = (replace(each, id=pictures[int(each.id)].name) for each in ranking.candidates)
    return replace(ranking, candidates=tuple(named))


def _show(ranking: "Ranking") -> None:
    how = ranking.personalization.value.lower().replace("_", " ")
    if ranking.is_opted_out:
        how += " (not personalised, as the user asked)"
    borrowed = ranking.borrowed
    neighbours = counted(borrowed.num_neighbours, "person", "people")
    lent = f" and {borrowed.num_references:,} borrowed of {neighbours}"
    click.echo(
        f"{printable(ranking.user_id)}: {how}, {counted(ranking.num_references, 'reference')}"
        f"{lent if borrowed.num_references else ''}, model {ranking.model_version[:12]}"
    )
    rows = [
        (each.rank or "-", "-" if each.score is None else each.score, each.id, each.message)
        for each in ranking.candidates
    ]
    if any(each.rank is None for each in ranking.candidates):
        show_table(["rank", "score", "image", "reason"], rows)
    else:
        show_table(["rank", "score", "image"], [row[:3] for row in rows])
