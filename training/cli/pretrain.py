"""`recsys pretrain`: train the tiny base model."""

from pathlib import Path

import click

from training.cli.terminal import FOLDER, THREADS, failing_in_a_sentence, open_console


@click.command()
@click.argument("folder", type=FOLDER)
@click.option(
    "--from",
    "start",
    metavar="CHECKPOINT",
    help="Skip captions: begin the interleaved sequences with the base that CHECKPOINT carries, a "
    "folder or the name of a shipped one.",
)
@click.option(
    "--set",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    help="Value of the recipe to change, e.g. contrastive_weight=0. Repeatable.",
)
@THREADS
def pretrain(
    folder: Path, start: str | None, changes: tuple[str, ...], threads: int | None
) -> None:
    """Train the tiny base model and write it to FOLDER/base.

    To resume, run the same command again. Under `accelerate launch` it runs in several processes.
    """
    from training.fitting.parallel import launched
    from training.fitting.pretraining.pretrain import pretrain as run
    from training.fitting.pretraining.recipe import PretrainRecipe
    from training.fitting.recipes.overrides import override

    try:
        recipe = override(PretrainRecipe(), changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    with failing_in_a_sentence():
        base = run(
            recipe,
            folder,
            console=open_console(threads),
            start=start,
            processes=launched(),
        )
    click.echo(f"base model: {base}")
