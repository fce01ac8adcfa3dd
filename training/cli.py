"""Commands of the training floor: `recsys world`, `pretrain`, `train` and `evaluate`."""

from pathlib import Path

import click

FOLDER = click.Path(file_okay=False, path_type=Path)


@click.group()
def world() -> None:
    """A synthetic world of images, people and known tastes."""


@world.command("create")
@click.option("--users", "num_users", type=click.IntRange(1), default=100, show_default=True)
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Users, images.")
@click.option(
    "--population", type=click.IntRange(0), default=0, show_default=True, help="Communities' seed."
)
@click.option("--choices", type=click.IntRange(1), default=24, show_default=True, help="Per user.")
def create(num_users: int, seed: int, population: int, choices: int) -> None:
    """Render a world into storage like any import; true tastes go to truth.npz beside it."""


@click.command()
@click.argument("folder", type=FOLDER)
@click.option("--threads", type=click.IntRange(1), help="CPU threads; all cores by default.")
def pretrain(folder: Path, threads: int | None) -> None:
    """Train the tiny base model into FOLDER/base; run again to resume."""


@click.command()
@click.argument("recipe")
@click.option("--base", type=FOLDER, required=True)
@click.option("--out", type=FOLDER, required=True)
def train(recipe: str, base: Path, out: Path) -> None:
    """Train a scorer by a named RECIPE on all choices in storage; run again to resume."""


@click.command()
@click.argument("checkpoint")
def evaluate(checkpoint: str) -> None:
    """Judge a CHECKPOINT on the users in storage."""
