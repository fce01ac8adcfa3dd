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
@THREADS
def pretrain(folder: Path, start: str | None, threads: int | None) -> None:
    """Train the tiny base model and write it to FOLDER/base.

    To resume, run the same command again.
    """
    from training.fitting.pretraining.pretrain import pretrain as run
    from training.fitting.pretraining.recipe import PretrainRecipe

    with failing_in_a_sentence():
        base = run(PretrainRecipe(), folder, console=open_console(threads), start=start)
    click.echo(f"base model: {base}")
