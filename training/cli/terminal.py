"""What the training commands share: options, progress bars, and errors in a sentence."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys.cli.failures import Failure
from recsys.cli.output import show_table

if TYPE_CHECKING:
    from rich.console import Console

    from recsys.runtime import Runtime
    from training.evaluation.section import Grid
    from training.world.truth import WorldTruth

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
SEED = click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Seed of all random draws."
)
DATABASE = click.option(
    "--database", metavar="URL", help="Database of the choices; the setting by default."
)
BLOBS = click.option("--blobs", metavar="URL", help="Where its images are; the setting by default.")
BATCH_USERS = click.option(
    "--batch-users",
    type=click.IntRange(1),
    help="Users whose histories are read in one pass: one on the CPU, and on a GPU as many as fit "
    "its free memory, by default.",
)
ONLY = click.option(
    "--only", metavar="PATTERN", help="Pattern of the ids of users to train on, e.g. 's1-*'."
)
TRUTH = click.option(
    "--truth",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="True tastes of a synthetic world, for upper bounds; beside the database by default.",
)
THREADS = click.option(
    "--threads",
    type=click.IntRange(1),
    help="CPU threads to compute with; one for each core by default.",
)


def references_option(help_text: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """The option `--references`, 8 by default; what becomes of those who have fewer is its help."""
    return click.option(
        "--references",
        "num_references",
        type=click.IntRange(0),
        default=8,
        show_default=True,
        help=help_text,
    )


class RenamedOption(click.Option):
    """An option that is also taken by its former name, which no help shows.

    Args:
        former: the name, with its dashes.
    """

    def __init__(self, *args: Any, former: str, **attributes: Any) -> None:
        super().__init__(*args, **attributes)
        self._former = former

    def add_to_parser(self, parser: Any, ctx: click.Context) -> None:
        """Let the parser know both names; of options given twice the last counts, as always."""
        shown, self.opts = self.opts, [*self.opts, self._former]
        super().add_to_parser(parser, ctx)
        self.opts = shown


def truth_beside(runtime: "Runtime") -> Path:
    """Return the file of true tastes: beside the embedded database, or in the data folder."""
    from recsys.settings import data_folder

    path = runtime.database.path
    return (path.parent if path else data_folder()) / "truth.npz"


def known_truth(runtime: "Runtime", named: Path | None) -> "WorldTruth | None":
    """Return the true tastes of a world, from the file named or beside the database.

    None if no file is named and none is there.

    Raises:
        ValueError: if the file is damaged.
        FileNotFoundError: if the file named is not there.
    """
    from training.world.truth import read_truth

    path = named or truth_beside(runtime)
    return read_truth(path) if named or path.exists() else None


def users_like(runtime: "Runtime", pattern: str | None) -> list[str] | None:
    """Return the ids of users who may be learned from and fit a pattern; None: no pattern is given.

    Raises:
        click.UsageError: if nobody fits.
    """
    from fnmatch import fnmatchcase

    from training.data.samples import learnable_user_ids

    if pattern is None:
        return None
    users = [user for user in learnable_user_ids(runtime.store) if fnmatchcase(user, pattern)]
    if not users:
        raise click.UsageError(f"--only {pattern!r} fits no user in storage")
    return users


def open_console(threads: int | None) -> "Console":
    """Return a console on standard error; torch computes with so many threads."""
    import torch
    from rich.console import Console

    if threads is not None:
        torch.set_num_threads(threads)
    return Console(stderr=True)


def show_grid(grid: "Grid") -> None:
    """Print a grid of figures behind its caption."""
    if grid.caption:
        click.echo(grid.caption)
    show_table(grid.heads, grid.rows)


@contextmanager
def showing_progress(console: "Console | None" = None) -> Iterator[Callable[[str, int, int], None]]:
    """Show a progress bar for each stage; yields what to call with stage, done and total."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=console or Console(stderr=True)) as display:
        bars: dict[str, Any] = {}

        def progress(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = display.add_task(what, total=total)
            display.update(bars[what], completed=done)

        yield progress


@contextmanager
def failing_in_a_sentence() -> Iterator[None]:
    """An invalid value or a NaN loss ends the command in a sentence, without a traceback."""
    try:
        yield
    except (ValueError, ArithmeticError) as error:
        raise Failure(str(error)) from error
