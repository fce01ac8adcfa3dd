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
@click.option("--base", help="Folder or hub id of the base model; the recipe's own by default.")
@click.option("--out", type=FOLDER, help="Receives states, logs and checkpoints.")
@click.option("--only", metavar="PATTERN", help="Users to learn from, e.g. 's1-*'.")
@click.option("--set", "changes", metavar="NAME=VALUE", multiple=True, help="Change the recipe.")
@click.option("--device", default="cpu", show_default=True, help='"cpu" or "cuda".')
@click.option("--workers", type=click.IntRange(0), default=0, help="Processes that decode images.")
@click.option(
    "--stage1", type=FOLDER, help="Begin with stage 2, on this checkpoint of the same choices."
)
@click.option("--dry-run", is_flag=True, help="Count parameters, memory and time; train nothing.")
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
    dry_run: bool,
    threads: int | None,
) -> None:
    """Train a scorer by a named RECIPE on the choices in storage; run again to resume.

    The paper's two stages: first adapter and preference tokens, then preference tokens alone.
    Under `accelerate launch` it runs on as many processes.

    --set changes one value of the recipe, e.g. --set scorer.num_preference_tokens=0.
    """
    from rich.console import Console

    from training.fitting.recipes.overrides import override
    from training.fitting.recipes.registry import RECIPES

    if recipe not in RECIPES:
        raise click.UsageError(f"RECIPE must be one of {', '.join(RECIPES)}, got {recipe}")
    with failing_in_a_sentence():
        chosen = override(RECIPES[recipe].build(), changes)
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
    threads: int | None,
) -> None:
    from fnmatch import fnmatchcase

    import torch

    from training.data.samples import all_user_ids
    from training.fitting.parallel import launched
    from training.fitting.stages import Training

    if device != "cpu" and not torch.cuda.is_available():
        raise click.UsageError(f"--device {device} needs a CUDA GPU, there is none: pass cpu")
    with Runtime(read_settings()) as runtime, failing_in_a_sentence():
        store = runtime.store
        users = None if only is None else [u for u in all_user_ids(store) if fnmatchcase(u, only)]
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
            stage1=stage1,
        )
        checkpoint = training.run()
    click.echo(f"checkpoint: {checkpoint}")
