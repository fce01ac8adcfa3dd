"""Commands of the training floor: `recsys world`, `pretrain`, `train` and `evaluate`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys.commands.failures import Failure
from recsys.commands.opened import opened_store, read_settings
from recsys.commands.shown import show_json, show_table

if TYPE_CHECKING:
    from rich.console import Console

FOLDER = click.Path(file_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
THREADS = click.option(
    "--threads", type=click.IntRange(1), help="CPU threads; one for each core by default."
)


@click.group()
def world() -> None:
    """A synthetic world of images, people and known tastes."""


@world.command("create")
@click.option("--users", "num_users", type=click.IntRange(1), default=100, show_default=True)
@click.option(
    "--seed", type=click.IntRange(0), default=0, show_default=True, help="Of people and images."
)
@click.option(
    "--population", type=click.IntRange(0), default=0, show_default=True, help="Of communities."
)
@click.option(
    "--choices", type=click.IntRange(1), default=24, show_default=True, help="Of each person."
)
@click.option("--truth", type=FILE, help="Where true tastes go; beside the data by default.")
def create(num_users: int, seed: int, population: int, choices: int, truth: Path | None) -> None:
    """Draw images, let people choose, and store the choices like any import.

    True tastes go to a file of their own, which only evaluation reads. Run again after an
    interruption: what is stored is not stored twice.
    """
    from training.world import create_world

    settings = read_settings()
    path = truth or _truth_beside(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened_store(settings, creates=True) as store, _telling() as tell:
        report = create_world(
            store,
            num_users=num_users,
            seed=seed,
            population_seed=population,
            num_choices=choices,
            truth_path=path,
            progress=tell,
        )
    rows = [(name.removeprefix("num_"), value) for name, value in asdict(report).items()]
    show_table(["what", "number"], rows)
    click.echo(f"true tastes: {path}")


@world.command("sheet")
@click.argument("out", type=FILE)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
def sheet(out: Path, seed: int) -> None:
    """Save a picture of the world to OUT.png: prompts with their images, one person's choices."""
    from training.contact_sheet import save_png
    from training.world_sheet import world_sheet

    save_png(world_sheet(seed=seed), out)
    click.echo(f"saved {out}")


@click.command()
@click.argument("folder", type=FOLDER)
@THREADS
def pretrain(folder: Path, threads: int | None) -> None:
    """Train the tiny base model into FOLDER/base; run again to resume."""
    from training.pretrain import pretrain as run
    from training.recipes import PretrainRecipe

    with _failing_in_a_sentence():
        base = run(PretrainRecipe(), folder, console=_console(threads))
    click.echo(f"base model: {base}")


@click.command()
@click.argument("recipe")
@click.option("--base", type=FOLDER, required=True, help="Folder of the base model.")
@click.option("--out", type=FOLDER, required=True, help="Receives states, logs and checkpoints.")
@THREADS
def train(recipe: str, base: Path, out: Path, threads: int | None) -> None:
    """Train a scorer by a named RECIPE on all choices in storage; run again to resume.

    The paper's two stages: first adapter and preference tokens, then preference tokens alone.
    """
    from training.recipes import RECIPES
    from training.tiny_base import TINY
    from training.train import train as run

    if recipe not in RECIPES:
        raise click.UsageError(f"RECIPE must be one of {', '.join(RECIPES)}, got {recipe}")
    settings = read_settings()
    with opened_store(settings, creates=False) as store, _failing_in_a_sentence():
        checkpoint = run(
            RECIPES[recipe](),
            base,
            store,
            out,
            geometry=TINY.geometry,
            console=_console(threads),
        )
    click.echo(f"checkpoint: {checkpoint}")


@click.command()
@click.argument("checkpoint", default="tiny")
@click.option("--users", "num_users", type=click.IntRange(2), help="So many, drawn by the seed.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True)
@click.option("--truth", type=FILE, help="True tastes of a synthetic world, for the bounds.")
@click.option("--json", "is_json", is_flag=True, help="For programs.")
@THREADS
def evaluate(
    checkpoint: str,
    num_users: int | None,
    seed: int,
    truth: Path | None,
    is_json: bool,
    threads: int | None,
) -> None:
    """Judge CHECKPOINT (a folder, or "tiny") on the users in storage.

    None of them may have been trained on. Each figure is a mean over users with its 95 % interval
    by bootstrap over users.
    """
    from recsys.scorer.checkpoint import load_scorer
    from training.evaluate import evaluate as run
    from training.evaluate import world_bounds
    from training.truth import read_truth

    settings = read_settings()
    found = truth or _truth_beside(settings)
    with opened_store(settings, creates=False) as store, _failing_in_a_sentence():
        scorer = load_scorer(checkpoint)
        report = run(scorer, store, console=_console(threads), num_users=num_users, seed=seed)
        figures = dict(report.figures)
        if found.exists():
            figures |= world_bounds(report, read_truth(found), seed=seed)
    if is_json:
        values = {name: asdict(figure) for name, figure in figures.items()}
        show_json({"model_version": report.model_version, **values})
        return
    rows = [
        (name, f"{f.value:.1%}", f"{f.low:.1%} to {f.high:.1%}", f.n_users, f.n_pairs)
        for name, f in figures.items()
    ]
    show_table(["figure", "value", "95 % interval", "users", "pairs"], rows)


def _truth_beside(settings: Any) -> Path:
    """Where a world's true tastes go: beside the embedded database, or in the data folder."""
    from recsys.commands.opened import sqlite_path
    from recsys.settings import data_folder

    path = sqlite_path(settings.database_url)
    return (path.parent if path else data_folder()) / "truth.npz"


def _console(threads: int | None) -> "Console":
    """Progress goes to standard error; arithmetic uses so many threads."""
    import torch
    from rich.console import Console

    if threads is not None:
        torch.set_num_threads(threads)
    return Console(stderr=True)


@contextmanager
def _telling() -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar for each thing that is told of."""
    from rich.console import Console
    from rich.progress import Progress

    with Progress(console=Console(stderr=True)) as progress:
        bars: dict[str, Any] = {}

        def tell(what: str, done: int, total: int) -> None:
            if what not in bars:
                bars[what] = progress.add_task(what, total=total)
            progress.update(bars[what], completed=done)

        yield tell


@contextmanager
def _failing_in_a_sentence() -> Iterator[None]:
    """A caller's slip or a loss that is no number ends the command without a traceback."""
    try:
        yield
    except (ValueError, ArithmeticError) as error:
        raise Failure(str(error)) from error
