"""`recsys model`: the checkpoints there are, one against another, and one in a single folder."""

import json
from pathlib import Path
from typing import Any

import click

from recsys.cli.invocation import read_settings
from recsys.cli.options import DEVICE, DTYPE, JSON
from recsys.cli.output import printable, show_json, show_table
from recsys.counts import counted
from recsys.errors import RecsysError
from recsys.runtime import Runtime
from training.cli.terminal import (
    FOLDER,
    SEED,
    THREADS,
    TRUTH,
    failing_in_a_sentence,
    known_truth,
    open_console,
    show_grid,
    users_like,
)


@click.group("model")
def model() -> None:
    """List checkpoints, compare one with another on the people in storage, and export one."""


@model.command("list")
@JSON
def list_models(is_json: bool) -> None:
    """List the checkpoint that is served and those that were trained or adapted from this storage.

    What was adapted shows its parent, and the gain that counted when it was compared.
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
            _promised(each["privacy"]),
            "yes" if each["is_served"] else "no",
        )
        for each in found
    ]
    show_table(
        ["checkpoint", "model version", "parent", "gained, points", "privacy", "served"], rows
    )
    for each in found:
        if each["damage"]:
            click.echo(f"{printable(each['checkpoint'])}: {each['damage']}", err=True)


@model.command("export")
@click.argument("checkpoint", default="tiny")
@click.option(
    "--out", type=FOLDER, required=True, help="Folder for the checkpoint, not there yet or empty."
)
@JSON
def export(checkpoint: str, out: Path, is_json: bool) -> None:
    """Write CHECKPOINT into one folder with all that it needs.

    A base model that lies elsewhere is copied into it, and so are the weights of a vision tower
    that come from an installed package. It scores as before, and is of the same model version.
    """
    from recsys.scorer.export import export_checkpoint

    with failing_in_a_sentence():
        version = export_checkpoint(checkpoint, out, base=read_settings().base)
    num_bytes = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    if is_json:
        show_json({"checkpoint": str(out), "model_version": version, "num_bytes": num_bytes})
        return
    size = f"{num_bytes / 2**20:.1f} MiB"
    click.echo(f"{printable(str(out))}: {size}, model version {version[:12]} as before")


@model.command("compare")
@click.argument("first")
@click.argument("second")
@click.option(
    "--most-users",
    type=click.IntRange(2),
    help="Most users to ask, drawn at random.",
)
@click.option("--only", metavar="PATTERN", help="Pattern of the ids of users to ask, e.g. 's2-*'.")
@TRUTH
@DEVICE
@DTYPE
@SEED
@JSON
@THREADS
def compare(
    first: str,
    second: str,
    most_users: int | None,
    only: str | None,
    truth: Path | None,
    device: str | None,
    dtype: str | None,
    seed: int,
    is_json: bool,
    threads: int | None,
) -> None:
    """Compare checkpoint SECOND with FIRST on the people in storage whom neither of them knows.

    Both are asked about the same pairs behind 0 to 8 of each person's references, and as many as
    both read of those who have them, alone and blended with the taste of everybody who is not
    asked, as cold start does when it is served; the difference is paired by person, with a 95 %
    interval by bootstrap over people. What counts is the gain of one blend over the other behind 4
    references and more.
    """
    from recsys.coldstart.fit import ENOUGH_JUDGES, ENOUGH_USERS
    from training.evaluation.checkpoints import ask_checkpoints
    from training.evaluation.results import plain

    console = open_console(threads)
    settings = read_settings(device=device, dtype=dtype)
    with Runtime(settings) as runtime, failing_in_a_sentence(), console.status("") as status:
        compared = ask_checkpoints(
            first,
            second,
            runtime.store,
            users=users_like(runtime, only),
            most_users=most_users,
            blends=runtime.settings.cold_start,
            truth=known_truth(runtime, truth),
            seed=seed,
            limits=runtime.image_limits,
            load=runtime.load_scorer,
            image_tokens=runtime.image_tokens_of,
            progress=lambda what: status.update(f"measuring: {what}"),
        ).compared()
    if is_json:
        show_json(plain(compared) | {"comparison": compared.comparison.to_json()})
        return
    for grid in compared.comparison.grids(before="first", after="second"):
        show_grid(grid)
    for sentence in compared.comparison.verdict():
        click.echo(sentence)
    if compared.num_lenders:
        others = counted(compared.num_lenders, "other person", "other people")
        click.echo(
            f"the blends borrow from {others}; how much, {compared.num_strangers:,} of them decide,"
            " whom neither checkpoint is known to have learned from"
        )
    elif settings.cold_start:
        click.echo(
            f"the blends are not compared: that takes {ENOUGH_USERS} other people to borrow from,"
            f" and {ENOUGH_JUDGES} of them whom neither checkpoint learned from"
        )
    if not compared.is_certain:
        click.echo(
            "not both checkpoints tell whom they learned from: some who are known may be asked"
        )


def _described(checkpoint: str, *, is_served: bool) -> dict[str, Any]:
    """What the files of a checkpoint say of it, without loading it; `damage` where they are bad."""
    from recsys.scorer.checkpoint import checkpoint_version, find_checkpoint

    found = dict.fromkeys(("model_version", "parent", "gained", "privacy", "damage"))
    try:
        figures = find_checkpoint(checkpoint) / "adapted.json"
        adapted = json.loads(figures.read_text()) if figures.is_file() else {}
        found["parent"] = adapted.get("parent", {}).get("model_version")
        found["gained"] = adapted.get("gain")
        found["privacy"] = adapted.get("privacy")
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


def _promised(privacy: dict[str, Any] | None) -> str:
    """What differential privacy there is, for those who were learned from in the adaptation."""
    return "-" if privacy is None else f"({privacy['epsilon']:.3g}, {privacy['delta']:.3g})"
