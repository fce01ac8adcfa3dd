"""`recsys train`: a scorer by a named recipe."""

from pathlib import Path
from typing import TYPE_CHECKING

import click

from recsys.cli.invocation import read_settings
from recsys.runtime import Runtime
from training.cli.terminal import FOLDER, THREADS, failing_in_a_sentence, open_console

if TYPE_CHECKING:
    from training.fitting.recipes.recipe import Recipe


@click.command()
@click.argument("recipe")
@click.option(
    "--base",
    help="Base model: a folder, or an id of the Hugging Face hub; the recipe's by default.",
)
@click.option("--out", type=FOLDER, help="Folder for training states, logs and checkpoints.")
@click.option(
    "--only", metavar="PATTERN", help="Pattern of the ids of users to train on, e.g. 's1-*'."
)
@click.option(
    "--set",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    help="Value of the recipe to change, e.g. scorer.num_references=4. Repeatable.",
)
@click.option("--device", default="cpu", show_default=True, help="Device to train on: cpu or cuda.")
@click.option(
    "--workers",
    type=click.IntRange(0),
    default=0,
    show_default=True,
    help="Processes that decode images; 0: none besides this one.",
)
@click.option(
    "--stage1",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Skip stage 1 and start stage 2 from this checkpoint, trained on the same choices.",
)
@click.option(
    "--synthetic",
    "is_synthetic",
    is_flag=True,
    help="The users do not exist: trained_on.json gets digests of them that need no identity key.",
)
@click.option(
    "--dry-run", is_flag=True, help="Estimate parameters, memory and time, and train nothing."
)
@THREADS
def train(
    recipe: str,
    base: str | None,
    out: Path | None,
    only: str | None,
    changes: tuple[str, ...],
    device: str,
    workers: int,
    stage1: Path | None,
    is_synthetic: bool,
    dry_run: bool,
    threads: int | None,
) -> None:
    """Train a scorer by a named RECIPE on the choices in storage.

    Training has the paper's two stages: first the adapter with the preference tokens, then the
    preference tokens alone. To resume, run the same command again. Under `accelerate launch` it
    runs in several processes.

    The database keeps where the run is, and trained_on.json there whom it learned from, as digests:
    so that an evaluation leaves these users out, and an erasure tells what learned from a user.
    """
    from rich.console import Console

    from training.fitting.recipes.overrides import override
    from training.fitting.recipes.registry import RECIPES

    if recipe not in RECIPES:
        raise click.UsageError(f"RECIPE must be one of {', '.join(RECIPES)}, got {recipe}")
    try:
        chosen = override(RECIPES[recipe].build(), changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if dry_run:
        from training.fitting.dry_run import dry_run as count
        from training.fitting.dry_run import show

        show(count(chosen, RECIPES[recipe].base_shape()), Console())
        return
    source = base or chosen.base.source
    if source is None or out is None:
        raise click.UsageError("training needs --base and --out; --dry-run needs neither")
    _train(
        chosen,
        source,
        out,
        only=only,
        device=device,
        workers=workers,
        stage1=stage1,
        is_synthetic=is_synthetic,
        threads=threads,
    )


def _train(
    recipe: "Recipe",
    base: str,
    out: Path,
    *,
    only: str | None,
    device: str,
    workers: int,
    stage1: Path | None,
    is_synthetic: bool,
    threads: int | None,
) -> None:
    from fnmatch import fnmatchcase

    from recsys.scorer.devices import require_device
    from training.data.samples import learnable_user_ids
    from training.fitting.parallel import launched
    from training.fitting.stages import Training

    require_device(device)
    with Runtime(read_settings()) as runtime, failing_in_a_sentence():
        store = runtime.store
        users = (
            None if only is None else [u for u in learnable_user_ids(store) if fnmatchcase(u, only)]
        )
        if users == []:
            raise click.UsageError(f"--only {only!r} fits no user in storage")
        processes = launched(cpu=device == "cpu")
        training = Training(
            recipe,
            base,
            store,
            out,
            console=open_console(threads),
            device=processes.device,
            processes=processes,
            num_workers=workers,
            users=users,
            limits=runtime.image_limits,
            image_tokens=runtime.image_tokens_of,
            stage1=stage1,
            is_synthetic=is_synthetic,
        )
        checkpoint = training.run()
    click.echo(f"checkpoint: {checkpoint}")
