"""`recsys train`: a scorer by a named recipe."""

import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recsys.cli.invocation import read_settings
from recsys.cli.options import JSON
from recsys.cli.output import show_json
from recsys.runtime import Runtime
from training.cli.terminal import (
    FOLDER,
    ONLY,
    THREADS,
    failing_in_a_sentence,
    open_console,
    users_like,
)

if TYPE_CHECKING:
    from recsys.scorer.model import PreferenceScorer
    from training.data.features import OpenTokens
    from training.fitting.recipes.recipe import Recipe
    from training.fitting.stages import Training


@click.command()
@click.argument("recipe")
@click.option(
    "--base",
    help="Base model: a folder, or an id of the Hugging Face hub; the recipe's by default.",
)
@click.option("--out", type=FOLDER, help="Folder for training states, logs and checkpoints.")
@ONLY
@click.option(
    "--set",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    help="Value of the recipe to change, e.g. scorer.num_references=4. Repeatable.",
)
@click.option(
    "--device",
    show_default="cpu",
    help="Device to train on: cpu or cuda. A dry run looks at its memory.",
)
@click.option(
    "--workers",
    type=click.IntRange(0),
    help="Processes that decode images; 0: none besides this one. By default as many as a GPU has"
    " cores beside it, 1 to 8, and none on the CPU.",
)
@click.option(
    "--stage1",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Skip stage 1 and start stage 2 from this checkpoint, trained on the same choices"
    " over the same base.",
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
@click.option(
    "--profile",
    "profiles",
    is_flag=True,
    help="Train a few steps, say where their time goes and whether the data side would keep up with"
    " an H100, and keep nothing; --out is left alone.",
)
@click.option(
    "--profile-steps",
    type=click.IntRange(1),
    default=5,
    show_default=True,
    help="Steps of each stage that --profile times, after two of warm-up.",
)
@JSON
@THREADS
def train(
    recipe: str,
    changes: tuple[str, ...],
    dry_run: bool,
    profiles: bool,
    profile_steps: int,
    is_json: bool,
    **options: Any,
) -> None:
    """Train a scorer by a named RECIPE on the choices in storage.

    Training has the paper's two stages: first the adapter with the preference tokens, then the
    preference tokens alone. To resume, run the same command again. Under `accelerate launch` it
    runs in several processes.

    The database keeps where the run is, and trained_on.json there whom it learned from, as digests:
    so that an evaluation leaves these users out, and an erasure tells what learned from a user.
    """
    from recsys.scorer.devices import require_device
    from training.fitting.recipes.overrides import override
    from training.fitting.recipes.registry import RECIPES

    if recipe not in RECIPES:
        raise click.UsageError(f"RECIPE must be one of {', '.join(RECIPES)}, got {recipe}")
    if dry_run and profiles:
        raise click.UsageError("--dry-run trains nothing and --profile a few steps: choose one")
    if is_json and not (dry_run or profiles):
        raise click.UsageError("--json is for what --dry-run or --profile finds: add one of them")
    try:
        chosen = override(RECIPES[recipe].build(), changes)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if dry_run:
        shape = RECIPES[recipe].base_shape()
        _count(chosen, shape, options["base"], options["device"], is_json=is_json)
        return
    require_device(options["device"] or "cpu")
    with Runtime(read_settings()) as runtime, failing_in_a_sentence():
        training = _training(runtime, chosen, keeps=not profiles, **options)
        if profiles:
            _profile(runtime, training, profile_steps, is_json=is_json)
        else:
            click.echo(f"checkpoint: {training.run()}")


def _count(
    recipe: "Recipe",
    shape: Mapping[str, Any],
    base: str | None,
    device: str | None,
    *,
    is_json: bool,
) -> None:
    from rich.console import Console

    from training.fitting.dry_run import dry_run, show, values_of

    counted = dry_run(recipe, values_of(base, shape), base=base, device=device)
    if is_json:
        show_json(asdict(counted))
    else:
        show(counted, Console())


def _training(
    runtime: Runtime,
    recipe: "Recipe",
    *,
    keeps: bool,
    base: str | None,
    out: Path | None,
    only: str | None,
    device: str | None,
    workers: int | None,
    stage1: Path | None,
    is_synthetic: bool,
    threads: int | None,
) -> "Training":
    from training.data.loading import default_workers
    from training.fitting.parallel import launched
    from training.fitting.stages import Training

    source, device = base or recipe.base.source, device or "cpu"
    if source is None or (out is None and keeps):
        raise click.UsageError(
            "training needs --base and --out; --profile needs no --out, --dry-run neither"
        )
    processes = launched(device)
    return Training(
        recipe,
        source,
        runtime.store,
        out or Path(),
        console=open_console(threads),
        device=processes.device,
        processes=processes,
        num_workers=default_workers(device) if workers is None else workers,
        users=users_like(runtime, only),
        limits=runtime.image_limits,
        image_tokens=runtime.image_tokens_of,
        stage1=stage1,
        is_synthetic=is_synthetic,
    )


def _profile(runtime: Runtime, training: "Training", num_steps: int, *, is_json: bool) -> None:
    from rich.console import Console

    from training.fitting.profile import profile, show_profile

    with _thrown_away(runtime) as tokens:
        # Where each image is encoded once, nothing that makes tokens is trained: they stay good.
        image_tokens = runtime.image_tokens_of if training.recipe.encodes_once else tokens
        run = profile(training, num_steps=num_steps, image_tokens=image_tokens)
    if not training.processes.is_main:
        return
    if is_json:
        show_json(run.to_json())
    else:
        show_profile(run, Console())


@contextmanager
def _thrown_away(runtime: Runtime) -> Iterator["OpenTokens"]:
    """Opens where tokens are kept on the same disk, as a version of their own that goes afterwards.

    Erasures, takedowns and the bound of the folder reach them as they do all others.
    """
    from functools import partial

    from recsys.image_tokens.cache import ImageTokenCache
    from recsys.image_tokens.folder import opened_folder
    from storage.images import stored_among

    settings, version = runtime.settings, f"profile-{secrets.token_hex(4)}"
    path = None if settings.image_tokens_folder is None else Path(settings.image_tokens_folder)
    with ExitStack() as opened:
        if path:
            opened.callback(shutil.rmtree, path / version, ignore_errors=True)

        def open_tokens(_: "PreferenceScorer") -> ImageTokenCache:
            most = settings.image_tokens_disk_bytes
            folder = opened_folder(path, version, max_bytes=most) if path else None
            stored = partial(stored_among, runtime.store.database)
            tokens = ImageTokenCache(settings.image_tokens_bytes, folder=folder, stored=stored)
            opened.callback(tokens.close)
            return tokens

        yield open_tokens
