"""`recsys evaluate`: a checkpoint evaluated on the choices in storage."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from recsys.cli.invocation import read_settings
from recsys.cli.options import JSON
from recsys.cli.output import show_json, show_table
from recsys.runtime import Runtime
from training.cli.terminal import (
    BLOBS,
    DATABASE,
    FILE,
    FOLDER,
    SEED,
    THREADS,
    failing_in_a_sentence,
    open_console,
    truth_beside,
)
from training.evaluation.tables.coldstart import show_cold_start
from training.evaluation.tables.signatures import show_signatures


def _named_folders(
    _context: click.Context, _option: click.Parameter, given: Sequence[str]
) -> dict[str, str]:
    folders = {}
    for each in given:
        name, separator, folder = each.partition("=")
        if not (name and separator and folder):
            raise click.BadParameter(f"must be NAME=FOLDER, got {each!r}")
        folders[name] = folder
    return folders


@click.command()
@click.argument("checkpoint", default="tiny")
@DATABASE
@BLOBS
@click.option("--out", type=FOLDER, help="Folder for report.json and report.html.")
@click.option(
    "--users", "users_file", type=FILE, help="Evaluate only these users: a file with an id a line."
)
@click.option(
    "--pairs",
    "pairs_file",
    type=FILE,
    help="Evaluate exactly these pairs: CSV of user_id, liked_image, disliked_image (SHA-256).",
)
@click.option(
    "--most-users", type=click.IntRange(2), help="Most users to evaluate, drawn at random."
)
@click.option(
    "--pairs-per-user",
    "--targets",
    "num_pairs",
    type=click.IntRange(1),
    default=8,
    show_default=True,
    help="Most pairs to evaluate for each user.",
)
@click.option(
    "--against",
    metavar="NAME=FOLDER",
    multiple=True,
    callback=_named_folders,
    help="Another checkpoint to evaluate on the same pairs, as an ablation. Repeatable.",
)
@click.option("--weights", type=FOLDER, help="Folder of public weights, for the baselines.")
@click.option("--no-baselines", is_flag=True, help="Leave the baselines out.")
@click.option("--no-signatures", is_flag=True, help="Leave the table of signatures out.")
@click.option("--no-cold-start", is_flag=True, help="Leave the table of cold start out.")
@click.option(
    "--truth",
    type=FILE,
    help="True tastes of a synthetic world, for upper bounds; beside the database by default.",
)
@SEED
@JSON
@THREADS
def evaluate(
    checkpoint: str,
    database: str | None,
    blobs: str | None,
    out: Path | None,
    users_file: Path | None,
    pairs_file: Path | None,
    most_users: int | None,
    num_pairs: int,
    against: dict[str, str],
    weights: Path | None,
    no_baselines: bool,
    no_signatures: bool,
    no_cold_start: bool,
    truth: Path | None,
    seed: int,
    is_json: bool,
    threads: int | None,
) -> None:
    """Evaluate CHECKPOINT, a folder or the name of a shipped one, on the choices in storage.

    Users that it was trained on are evaluated on newer choices only, and apart from users that it
    never saw. Each figure is a mean over users with a 95 % interval, by bootstrap over users.
    """
    from training.evaluation.asked import read_pairs, read_users
    from training.evaluation.evaluate import evaluate as run
    from training.evaluation.report import write_report
    from training.world.truth import read_truth

    settings = read_settings(database_url=database, blob_url=blobs)
    console = open_console(threads)
    with Runtime(settings) as runtime, failing_in_a_sentence():
        known = truth or truth_beside(runtime)
        with _measuring(console) as tell:
            results = run(
                checkpoint,
                runtime.store,
                tell=tell,
                num_pairs=num_pairs,
                most_users=most_users,
                users=read_users(users_file) if users_file else None,
                pairs=read_pairs(pairs_file) if pairs_file else None,
                against=against,
                weights=weights,
                truth=read_truth(known) if known.exists() else None,
                seed=seed,
                with_baselines=not no_baselines,
                with_signatures=not no_signatures,
                with_cold_start=not no_cold_start,
            )
        if out is not None:
            write_report(results, out)
    if is_json:
        show_json(results)
        return
    rows = [
        (
            name,
            f"{f['value']:.1%}",
            f"{f['low']:.1%} to {f['high']:.1%}",
            f["n_users"],
            f["n_pairs"],
        )
        for name, f in flat_figures({**results, "signatures": None, "cold_start": None})
    ]
    show_table(["figure", "value", "95 % interval", "users", "pairs"], rows)
    if results["signatures"] is not None:
        show_signatures(results["signatures"])
    if results["cold_start"] is not None:
        show_cold_start(results["cold_start"])
    for each in results["missing"]:
        click.echo(f"not measured: {each['what']}: {each['why']}", err=True)
    if out is not None:
        click.echo(f"report: {out / 'report.html'}")


def flat_figures(results: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every figure of a report by its dotted name, e.g. "unseen.top1"."""
    for key, value in results.items():
        if not isinstance(value, Mapping):
            continue
        if "value" in value and "low" in value:
            yield prefix + key, value
        else:
            yield from flat_figures(value, f"{prefix}{key}.")


@contextmanager
def _measuring(console: Any) -> Iterator[Callable[[str], None]]:
    """Show what is being measured, and the time that has passed."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("opening")
        yield lambda what: progress.update(task, description=f"measuring: {what}")
