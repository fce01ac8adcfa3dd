"""`recsys import`: choices from files into storage, with progress and a report."""

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys.cli.failures import ExitCode, Failure
from recsys.cli.invocation import read_settings
from recsys.cli.options import JSON, SHAREABLE
from recsys.cli.output import printable, show_json, show_table
from recsys.cli.progress import counting
from recsys.counts import counted
from recsys.runtime import Runtime

if TYPE_CHECKING:
    from storage.importers.origin import Origin
    from storage.importers.report import ImportReport

DIRECTORY = click.Path(path_type=Path)
RATING = click.FloatRange(1, 5)
STRICT = click.option("--strict", is_flag=True, help="Exit with code 5 if any row was skipped.")
DATASET = click.option(
    "--dataset",
    help="Name of the data set, kept with each choice; the folder's name by default.",
)
USER_PREFIX = click.option(
    "--user-prefix",
    default="",
    help="Text put before each user id, so that equal ids of two data sets stay two people.",
)
REPLACE = click.option(
    "--replace",
    "replaces",
    is_flag=True,
    help="When all is stored, remove what only earlier imports of this data set have stored.",
)


@click.group("import")
def command() -> None:
    """Import choices from files into storage.

    Rows that cannot be used are skipped, counted and explained. The exit code is still 0, as ties
    and middling ratings are skipped by design; --strict makes it 5. To resume an interrupted
    import, run the same command again: no row is stored twice. Ratings that are imported with other
    thresholds give other choices, beside those of before, unless with --replace.
    """


@command.command("pairs")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@DATASET
@USER_PREFIX
@REPLACE
@SHAREABLE
@STRICT
@JSON
def pairs(
    directory: Path,
    dataset: str | None,
    user_prefix: str,
    replaces: bool,
    shareable: bool,
    strict: bool,
    is_json: bool,
) -> None:
    """Import DIR/pairs.csv, .jsonl or .parquet.

    Columns: user_id, liked_image, disliked_image, prompt, created_at; images are paths relative
    to DIR, or bytes in parquet.
    """
    from storage.importers.pairs import count_rows, find_pairs, import_pairs

    find_pairs(directory)
    origin = _origin(directory, dataset, user_prefix, replaces=replaces)
    report = _run(
        partial(import_pairs, directory, shareable=shareable),
        origin,
        partial(count_rows, directory),
    )
    _end(report, origin, is_strict=strict, is_json=is_json)


@command.command("ratings")
@click.argument("directory", metavar="DIR", type=DIRECTORY)
@click.option(
    "--liked-min",
    type=RATING,
    default=4,
    show_default=True,
    help="Lowest rating that counts as liked, 1 to 5.",
)
@click.option(
    "--disliked-max",
    type=RATING,
    default=2,
    show_default=True,
    help="Highest rating that counts as disliked, 1 to 5.",
)
@click.option(
    "--any-prompt",
    is_flag=True,
    help="Pair images of different prompts, at random, instead of within a prompt.",
)
@click.option(
    "--question",
    default="appeal",
    show_default=True,
    help="Import only ratings of this question; empty for all.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Seed of --any-prompt.")
@DATASET
@USER_PREFIX
@REPLACE
@SHAREABLE
@STRICT
@JSON
def ratings(
    directory: Path,
    liked_min: float,
    disliked_max: float,
    any_prompt: bool,
    question: str,
    seed: int,
    dataset: str | None,
    user_prefix: str,
    replaces: bool,
    shareable: bool,
    strict: bool,
    is_json: bool,
) -> None:
    """Import DIR/items.csv and DIR/ratings.csv as pairs of a liked and a disliked image."""
    from storage.importers.ratings import count_rows, find_ratings, import_ratings

    if disliked_max >= liked_min:
        raise click.UsageError(
            f"--disliked-max must be below --liked-min, got {disliked_max:g} and {liked_min:g}"
        )
    find_ratings(directory)
    run = partial(
        import_ratings,
        directory,
        liked_min=liked_min,
        disliked_max=disliked_max,
        any_prompt=any_prompt,
        question=question or None,
        seed=seed,
        shareable=shareable,
    )
    origin = _origin(directory, dataset, user_prefix, replaces=replaces)
    report = _run(run, origin, partial(count_rows, directory))
    _end(report, origin, is_strict=strict, is_json=is_json)


@command.command("pickapic")
@click.argument("files", metavar="FILE.parquet...", type=DIRECTORY, nargs=-1, required=True)
@DATASET
@USER_PREFIX
@REPLACE
@SHAREABLE
@STRICT
@JSON
def pickapic(
    files: tuple[Path, ...],
    dataset: str | None,
    user_prefix: str,
    replaces: bool,
    shareable: bool,
    strict: bool,
    is_json: bool,
) -> None:
    """Import files of the Pick-a-Pic data set; ties and unlabelled rows are skipped."""
    from storage.importers.pickapic import count_rows, import_pickapic

    count_rows(files)
    origin = _origin(files[0].resolve().parent, dataset, user_prefix, replaces=replaces)
    report = _run(
        partial(import_pickapic, files, shareable=shareable), origin, partial(count_rows, files)
    )
    _end(report, origin, is_strict=strict, is_json=is_json)


def _origin(folder: Path, dataset: str | None, user_prefix: str, *, replaces: bool) -> "Origin":
    from storage.importers.origin import Origin, folder_name

    name = folder_name(folder) if dataset is None else dataset
    return Origin(name, user_prefix, replaces=replaces)


def _run(
    import_rows: "Callable[..., ImportReport]", origin: "Origin", count_rows: Callable[[], int]
) -> "ImportReport":
    """Import; callers have looked for the files, as what reads images is slow to load."""
    from storage.errors import StorageFull

    again = "stored choices are kept: run the same command again to import the rest"
    try:
        with Runtime(read_settings(), creates=True) as runtime:
            store, inspect = runtime.store, runtime.inspect_image
            with counting("Rows", count_rows) as count:
                return import_rows(store, origin=origin, inspect=inspect, progress=count)
    except KeyboardInterrupt as error:
        raise Failure(f"stopped by Ctrl-C; {again}", ExitCode.INTERRUPTED) from error
    except StorageFull as error:
        raise Failure(f"{error}; {again}") from error


def _end(report: "ImportReport", origin: "Origin", *, is_strict: bool, is_json: bool) -> None:
    _warn(report, origin)
    if is_json:
        show_json(asdict(report))
    else:
        _show(report)
    if is_strict and report.num_skipped:
        raise click.exceptions.Exit(ExitCode.PARTLY)


def _warn(report: "ImportReport", origin: "Origin") -> None:
    if report.num_merged:
        click.echo(
            f"warning: {counted(report.num_merged, 'user')} to whom this import gave choices had"
            " others, from elsewhere: if they are other people, their ids need a --user-prefix",
            err=True,
        )
    if report.num_left and origin.replaces:
        click.echo(
            f"warning: no row could be used, so {counted(report.num_left, 'choice')} that earlier"
            f" imports of {printable(origin.dataset)!r} have stored are kept",
            err=True,
        )
    elif report.num_left:
        click.echo(
            f"warning: {counted(report.num_left, 'choice')} that earlier imports of"
            f" {printable(origin.dataset)!r} have stored are not among these and stand beside them:"
            " to remove them, import with --replace",
            err=True,
        )


def _show(report: "ImportReport") -> None:
    counts = [
        ("rows read", report.num_read),
        ("rows skipped", report.num_skipped),
        ("choices stored", report.num_stored),
        ("of them, without a pair", report.num_unpaired),
        ("choices already stored", report.num_repeated),
    ]
    if report.num_removed:
        counts.append(("choices of earlier imports removed", report.num_removed))
    show_table(["import", "number"], counts)
    if report.skipped:
        rows = [
            (reason, number, "; ".join(report.examples.get(reason, [])))
            for reason, number in sorted(report.skipped.items(), key=lambda item: -item[1])
        ]
        show_table(["skipped because", "number", "for example"], rows)
