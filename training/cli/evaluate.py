"""`recsys evaluate`: a checkpoint evaluated on the choices in storage."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys.cli.invocation import read_settings
from recsys.cli.options import DEVICE, DTYPE, JSON
from recsys.cli.output import show_json
from recsys.runtime import Runtime
from training.cli.terminal import (
    BATCH_USERS,
    BLOBS,
    DATABASE,
    FILE,
    FOLDER,
    SEED,
    THREADS,
    TRUTH,
    RenamedOption,
    failing_in_a_sentence,
    known_truth,
    open_console,
    references_option,
    show_grid,
)

if TYPE_CHECKING:
    from training.evaluation.results import Results
    from training.evaluation.section import Section


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
    "--pickapic-test",
    "test_files",
    type=FILE,
    multiple=True,
    help="Evaluate as the paper does on a Parquet file of Pick-a-Pic's test split, imported apart: "
    "every pair of users with 11 or more liked images. Repeatable.",
)
@click.option(
    "--most-users", type=click.IntRange(2), help="Most users to evaluate, drawn at random."
)
@click.option(
    "--pairs-per-user",
    "num_pairs",
    cls=RenamedOption,
    former="--targets",
    type=click.IntRange(1),
    help="Most pairs to evaluate for each user: 8 by default, with --pickapic-test all.",
)
@references_option("References read of each user; whoever has fewer is not evaluated.")
@click.option(
    "--against",
    metavar="NAME=FOLDER",
    multiple=True,
    callback=_named_folders,
    help="Another checkpoint to evaluate on the same pairs, as an ablation, loaded by the same "
    "settings: where `base` is set, it is the base of all that do not carry theirs. Repeatable.",
)
@click.option("--weights", type=FOLDER, help="Folder of public weights, for the baselines.")
@click.option("--no-baselines", is_flag=True, help="Leave the baselines out.")
@click.option("--no-signatures", is_flag=True, help="Leave the table of signatures out.")
@click.option("--no-cold-start", is_flag=True, help="Leave the table of cold start out.")
@TRUTH
@DEVICE
@DTYPE
@BATCH_USERS
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
    test_files: tuple[Path, ...],
    most_users: int | None,
    num_pairs: int | None,
    num_references: int,
    against: dict[str, str],
    weights: Path | None,
    no_baselines: bool,
    no_signatures: bool,
    no_cold_start: bool,
    truth: Path | None,
    device: str | None,
    dtype: str | None,
    batch_users: int | None,
    seed: int,
    is_json: bool,
    threads: int | None,
) -> None:
    """Evaluate CHECKPOINT, a folder or the name of a shipped one, on the choices in storage.

    Users that it was trained on are evaluated apart from users that it never saw, and on newer
    choices only; with --pickapic-test, on all their choices in the files. Each figure is a mean
    over users with a 95 % interval, by bootstrap over users.
    """
    from training.evaluation.asked import read_pairs, read_users
    from training.evaluation.evaluate import evaluate as run
    from training.evaluation.report import write_report
    from training.evaluation.results import as_json

    if test_files and (users_file or pairs_file or most_users):
        raise click.UsageError(
            "--pickapic-test evaluates everybody in the files: leave out --users, --pairs and"
            " --most-users"
        )
    settings = read_settings(database_url=database, blob_url=blobs, device=device, dtype=dtype)
    left_out = {
        "baselines": no_baselines,
        "signatures": no_signatures,
        "cold_start": no_cold_start,
        "first_questions": no_cold_start,
    }
    console = open_console(threads)
    with Runtime(settings) as runtime, failing_in_a_sentence():
        known = known_truth(runtime, truth)
        with _measuring(console) as progress, _judged(runtime, test_files) as judged:
            results = run(
                checkpoint,
                judged.store,
                progress=progress,
                num_pairs=num_pairs,
                num_references=num_references,
                most_users=most_users,
                users=read_users(users_file) if users_file else None,
                pairs=read_pairs(pairs_file) if pairs_file else None,
                follows_paper=bool(test_files),
                against=against,
                weights=weights,
                truth=known,
                seed=seed,
                without=[name for name, is_left_out in left_out.items() if is_left_out],
                limits=judged.image_limits,
                load=judged.load_scorer,
                image_tokens=judged.image_tokens_of,
                batch_users=batch_users,
            )
        if out is not None:
            write_report(results, out)
    if is_json:
        show_json(as_json(results))
        return
    _tell(results)
    if out is not None:
        click.echo(f"report: {out / 'report.html'}")


def _tell(results: "Results") -> None:
    from training.evaluation.summary import summary

    click.echo(" ".join([*summary(results), *results.notes]))
    for section in results.sections():
        _show(section)


@contextmanager
def _judged(runtime: Runtime, test_files: Sequence[Path]) -> Iterator[Runtime]:
    """The storage whose choices are evaluated: that of test files, else that of the settings."""
    from training.evaluation.pickapic import imported_apart

    if not test_files:
        yield runtime
        return
    with imported_apart(test_files, runtime.settings) as apart:
        yield apart


def _show(section: "Section") -> None:
    """A section's paragraphs and grids; its plots are on the page alone."""
    from training.evaluation.section import Grid

    click.echo(f"\n{section.title}")
    for part in section.parts:
        if isinstance(part, Grid):
            show_grid(part)
        elif isinstance(part, str):
            click.echo(part)


@contextmanager
def _measuring(console: Any) -> Iterator[Callable[[str], None]]:
    """Show what is being measured, and the time that has passed."""
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("opening")
        yield lambda what: progress.update(task, description=f"measuring: {what}")
