"""`recsys world`: synthetic users with known tastes, and images to choose from."""

from pathlib import Path

import click

from recsys.cli.invocation import read_settings
from recsys.cli.output import show_table
from recsys.runtime import Runtime
from training.cli.terminal import FILE, SEED, RenamedOption, showing_progress, truth_beside


@click.group()
def world() -> None:
    """Create synthetic users with known tastes, and images to choose from."""


@world.command("create")
@click.option(
    "--users",
    "num_users",
    type=click.IntRange(1),
    default=100,
    show_default=True,
    help="Number of users to create.",
)
@click.option(
    "--seed",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of users, images and choices.",
)
@click.option(
    "--communities",
    "communities_seed",
    cls=RenamedOption,
    former="--population",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Seed of the communities of taste that users belong to.",
)
@click.option(
    "--choices",
    type=click.IntRange(1),
    default=24,
    show_default=True,
    help="Number of choices that each user makes.",
)
@click.option(
    "--truth", type=FILE, help="File for the true tastes; beside the database by default."
)
def create(
    num_users: int, seed: int, communities_seed: int, choices: int, truth: Path | None
) -> None:
    """Draw images, let synthetic users choose, and import their choices.

    The true tastes are written to a file of their own, which only evaluation reads. To resume an
    interrupted run, run the same command again: no choice is stored twice.
    """
    from training.world.creation import create_world

    with Runtime(read_settings(), creates=True) as runtime, showing_progress() as progress:
        path = truth or truth_beside(runtime)
        path.parent.mkdir(parents=True, exist_ok=True)
        report = create_world(
            runtime.store,
            num_users=num_users,
            seed=seed,
            communities_seed=communities_seed,
            num_choices=choices,
            truth_path=path,
            progress=progress,
        )
    rows = [
        ("users", report.num_users),
        ("images drawn", report.num_images),
        ("choices stored", report.num_stored),
        ("choices stored before", report.num_repeated),
    ]
    show_table(["property", "number"], rows)
    click.echo(f"true tastes: {path}")


@world.command("sheet")
@click.argument("out", type=FILE)
@SEED
def sheet(out: Path, seed: int) -> None:
    """Save a picture of the world to OUT (PNG): prompts with images, and one user's choices."""
    from training.world.contact_sheet import save_png
    from training.world.sheet import world_sheet

    save_png(world_sheet(seed=seed), out)
    click.echo(f"picture: {out}")
