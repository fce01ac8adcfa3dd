"""`recsys import`: files -> choices, with progress, a report, and no row stored twice."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys.commands.failures import ExitCode, Failure
from recsys.commands.opened import opened_store, read_settings
from recsys.commands.shown import counting, printable, show_json, show_table

if TYPE_CHECKING:
    from storage.importers.report import ImportReport

DIRECTORY = click.Path(path_type=Path)
JSON = click.option("--json", "is_json", is_flag=True, help="For programs.")


@click.group("import")
def command() -> None:
    """Bring choices from files into storage.

    Rows that cannot be used are left out, counted and explained; the exit code stays 0. Run the
    same command again after a failure or Ctrl-C: what is stored already is not stored twice.
    """


@command.command("pairs")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@JSON
def pairs(directory: Path, is_json: bool) -> None:
    """Import DIR/pairs.csv, .jsonl or .parquet.

    Columns: user_id, liked_image, disliked_image, prompt, created_at; images are paths relative
    to DIR, or bytes in parquet.
    """
    from storage.importers.pairs import import_pairs

    _run(partial(import_pairs, directory), is_json)


@command.command("ratings")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option("--liked-min", type=float, required=True, help="Liked from this rating up.")
@click.option("--disliked-max", type=float, required=True, help="Disliked up to this rating.")
@click.option("--any-prompt", is_flag=True, help="Pair at random across prompts, not within one.")
@click.option("--question", help="Only ratings of this question, e.g. appeal.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of --any-prompt.")
@JSON
def ratings(
    directory: Path,
    liked_min: float,
    disliked_max: float,
    any_prompt: bool,
    question: str | None,
    seed: int,
    is_json: bool,
) -> None:
    """Import DIR/items.csv and DIR/ratings.csv as pairs of a liked and a disliked image."""
    from storage.importers.ratings import import_ratings

    if disliked_max >= liked_min:
        raise click.UsageError(
            f"--disliked-max must be below --liked-min, got {disliked_max:g} and {liked_min:g}"
        )
    run = partial(
        import_ratings,
        directory,
        liked_min=liked_min,
        disliked_max=disliked_max,
        any_prompt=any_prompt,
        question=question,
        seed=seed,
    )
    _run(run, is_json)


@command.command("pickapic")
@click.argument("files", metavar="FILE.parquet...", type=DIRECTORY, nargs=-1, required=True)
@JSON
def pickapic(files: tuple[Path, ...], is_json: bool) -> None:
    """Import files of the Pick-a-Pic data set; ties and rows without a label are left out."""
    from storage.importers.pickapic import import_pickapic

    _run(partial(import_pickapic, files), is_json)


def _run(import_rows: "Callable[..., ImportReport]", is_json: bool) -> None:
    from recsys.images import ImageLimits, inspect
    from storage.errors import StorageFull

    settings = read_settings()
    limits = ImageLimits(settings.max_image_bytes, settings.max_image_pixels)
    check = partial(inspect, limits=limits)
    again = "what is stored stands whole: run the same command again to store the rest"
    try:
        with opened_store(settings, creates=True) as store, counting("Rows read") as count:
            report = import_rows(store, inspect=check, progress=count)
    except KeyboardInterrupt as error:
        raise Failure(f"stopped by Ctrl-C; {again}", ExitCode.INTERRUPTED) from error
    except StorageFull as error:
        raise Failure(f"{error}; {again}") from error
    if is_json:
        show_json(asdict(report))
    else:
        _show(report)


def _show(report: "ImportReport") -> None:
    counts = [
        ("read", report.num_read),
        ("stored", report.num_stored),
        ("stored before", report.num_repeated),
        ("left out", report.num_skipped),
    ]
    show_table(["rows", "number"], counts)
    if report.skipped:
        rows = [
            (printable(reason), number, ", ".join(report.examples.get(reason, [])))
            for reason, number in sorted(report.skipped.items(), key=lambda item: -item[1])
        ]
        show_table(["left out because", "number", "for example"], rows)
