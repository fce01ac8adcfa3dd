"""`recsys pretrain`: train the tiny base model."""

from pathlib import Path

import click

from training.cli.terminal import FOLDER, THREADS, failing_in_a_sentence, open_console


@click.command()
@click.argument("folder", type=FOLDER)
@THREADS
def pretrain(folder: Path, threads: int | None) -> None:
    """Train the tiny base model and write it to FOLDER/base.

    To resume, run the same command again.
    """
    from training.fitting.pretraining.pretrain import pretrain as run
    from training.fitting.pretraining.recipe import PretrainRecipe

    with failing_in_a_sentence():
        base = run(PretrainRecipe(), folder, console=open_console(threads))
    click.echo(f"base model: {base}")
