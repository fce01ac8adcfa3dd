"""`recsys model`: the checkpoints there are, and how one does against another."""

import json
from pathlib import Path
from typing import Any

import click

from recsys.cli.invocation import read_settings
from recsys.cli.options import DEVICE, DTYPE, JSON
from recsys.cli.output import printable, show_json, show_table
from recsys.errors import RecsysError
from recsys.runtime import Runtime
from training.cli.terminal import SEED, THREADS, failing_in_a_sentence, open_console


@click.group("model")
def model() -> None:
    """List checkpoints, and compare one with another on the people in storage."""


@model.command("list")
@JSON
def list_models(is_json: bool) -> None:
    """List the checkpoint that is served and those that were trained or adapted from this storage.

    What was adapted shows its parent, and what it gained in the mean over 0 to 8 references when it
    was compared.
    """
    with Runtime(read_settings()) as runtime:
        served = runtime.settings.checkpoint
        folders = [Path(run.folder) for run in runtime.trainings.all()]
    found = [_described(served, is_served=True)]
    others = [place for folder in folders for place in (folder, folder / "final")]
    found += [
        _described(str(each), is_served=False)
        for each in others
        if (each / "scorer.json").is_file() and not _is_same(each, served)
    ]
    if is_json:
        show_json(found)
        return
    rows = [
        (
            printable(each["checkpoint"]),
            "damaged" if each["damage"] else each["model_version"][:12],
            (each["parent"] or "-")[:12],
            _gained(each["gained"]),
            "yes" if each["is_served"] else "no",
        )
        for each in found
    ]
    show_table(["checkpoint", "model version", "parent", "gained, points", "served"], rows)
    for each in found:
        if each["damage"]:
            click.echo(f"{printable(each['checkpoint'])}: {each['damage']}", err=True)


@model.command("compare")
@click.argument("first")
@click.argument("second")
@click.option(
    "--most-users",
    type=click.IntRange(2),
    help="Most users to ask, drawn at random.",
)
@DEVICE
@DTYPE
@SEED
@JSON
@THREADS
def compare(
    first: str,
    second: str,
    most_users: int | None,
    device: str | None,
    dtype: str | None,
    seed: int,
    is_json: bool,
    threads: int | None,
) -> None:
    """Compare checkpoint SECOND with FIRST on the people in storage whom neither of them knows.

    Both are asked about the same pairs behind 0 to 8 of each person's references; the difference is
    paired by person, with a 95 % interval by bootstrap over people.
    """
    from training.evaluation.checkpoints import compare_checkpoints
    from training.evaluation.results import plain

    console = open_console(threads)
    settings = read_settings(device=device, dtype=dtype)
    with Runtime(settings) as runtime, failing_in_a_sentence(), console.status("") as status:
        compared = compare_checkpoints(
            first,
            second,
            runtime.store,
            most_users=most_users,
            seed=seed,
            limits=runtime.image_limits,
            load=runtime.load_scorer,
            image_tokens=runtime.image_tokens_of,
            progress=lambda what: status.update(f"measuring: {what}"),
        )
    if is_json:
        show_json(plain(compared))
        return
    grid = compared.comparison.grid(before="first", after="second")
    show_table(grid.heads, grid.rows)
    if not compared.is_certain:
        click.echo(
            "not both checkpoints tell whom they learned from: some who are known may be asked"
        )


def _described(checkpoint: str, *, is_served: bool) -> dict[str, Any]:
    """What the files of a checkpoint say of it, without loading it; `damage` where they are bad."""
    from recsys.scorer.checkpoint import checkpoint_version, find_checkpoint

    found = dict.fromkeys(("model_version", "parent", "gained", "damage"))
    try:
        figures = find_checkpoint(checkpoint) / "adapted.json"
        adapted = json.loads(figures.read_text()) if figures.is_file() else {}
        found["parent"] = adapted.get("parent", {}).get("model_version")
        found["gained"] = adapted.get("comparison", {}).get("mean")
        found["model_version"] = checkpoint_version(checkpoint)
    except (RecsysError, ValueError) as error:
        found["damage"] = str(error)
    return {"checkpoint": checkpoint, **found, "is_served": is_served}


def _is_same(folder: Path, served: str) -> bool:
    return Path(served).is_dir() and folder.samefile(served)


def _gained(figure: dict[str, Any] | None) -> str:
    from training.evaluation.metrics import Figure
    from training.evaluation.section import points, with_interval

    return with_interval(None if figure is None else Figure(**figure), points)
