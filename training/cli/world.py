"""`recsys world`: a synthetic world of images, people and known tastes."""

from dataclasses import asdict
from pathlib import Path

import click

from recsys.cli.invocation import read_settings
from recsys.cli.output import show_table
from recsys.runtime import Runtime
from training.cli.terminal import FILE, telling, truth_beside


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
    from training.world.population import create_world

    with Runtime(read_settings(), creates=True) as runtime, telling() as tell:
        path = truth or truth_beside(runtime)
        path.parent.mkdir(parents=True, exist_ok=True)
        report = create_world(
            runtime.store,
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
    from training.world.contact_sheet import save_png
    from training.world.sheet import world_sheet

    save_png(world_sheet(seed=seed), out)
    click.echo(f"saved {out}")
