"""`recsys cross-validate`: fine-tune on some users and prompts, evaluate on others."""

from functools import partial
from pathlib import Path

import click

from recsys.cli.invocation import read_settings
from recsys.cli.options import DEVICE, DTYPE, JSON
from recsys.cli.output import show_json, show_table
from recsys.runtime import Runtime
from training.cli.terminal import (
    BATCH_USERS,
    BLOBS,
    DATABASE,
    FOLDER,
    SEED,
    THREADS,
    failing_in_a_sentence,
    open_console,
    references_option,
)


@click.command("cross-validate")
@click.argument("checkpoint", default="tiny")
@click.option("--out", type=FOLDER, required=True, help="Folder for the run of each fold.")
@DATABASE
@BLOBS
@click.option(
    "--user-folds",
    type=click.IntRange(2),
    default=3,
    show_default=True,
    help="Number of folds of users.",
)
@click.option(
    "--prompt-folds",
    type=click.IntRange(2),
    default=3,
    show_default=True,
    help="Number of folds of prompts.",
)
@references_option("Most references read of each user.")
@click.option(
    "--steps",
    type=click.IntRange(0),
    default=100,
    show_default=True,
    help="Training steps for each fold.",
)
@click.option(
    "--learning-rate",
    type=float,
    default=3e-4,
    show_default=True,
    help="Peak learning rate of the optimizer.",
)
@DEVICE
@DTYPE
@BATCH_USERS
@SEED
@JSON
@THREADS
def cross_validate(
    checkpoint: str,
    out: Path,
    database: str | None,
    blobs: str | None,
    user_folds: int,
    prompt_folds: int,
    num_references: int,
    steps: int,
    learning_rate: float,
    device: str | None,
    dtype: str | None,
    batch_users: int | None,
    seed: int,
    is_json: bool,
    threads: int | None,
) -> None:
    """Fine-tune CHECKPOINT on some users and prompts, evaluate it on others, in turn.

    Meant for small data sets: each user is evaluated once, by a copy that saw neither the user nor
    the prompts.
    """
    from training.evaluation.results import plain
    from training.evaluation.section import figure_grid, figure_row, points
    from training.fitting.fine_tune import FineTuning, cross_validate_checkpoint

    settings = read_settings(database_url=database, blob_url=blobs, device=device, dtype=dtype)
    with Runtime(settings) as runtime, failing_in_a_sentence():
        figures = cross_validate_checkpoint(
            checkpoint,
            runtime.store,
            out,
            console=open_console(threads),
            tuning=FineTuning(num_steps=steps, learning_rate=learning_rate, seed=seed),
            num_user_folds=user_folds,
            num_prompt_folds=prompt_folds,
            num_references=num_references,
            limits=runtime.image_limits,
            image_tokens=runtime.image_tokens_of,
            load=partial(runtime.load_scorer, merges_adapter=False),
            batch_users=batch_users,
        )
    if is_json:
        show_json(plain(figures))
        return
    shown = figure_grid(
        "figure",
        [
            row
            for name, each in figures.items()
            for row in (
                figure_row(f"{name}.top1", each.top1),
                figure_row(f"{name}.ours_minus, points", each.ours_minus, points),
                figure_row(f"{name}.opposed", each.opposed),
            )
        ],
    )
    show_table(shown.heads, shown.rows)
