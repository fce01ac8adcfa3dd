"""`recsys folders`: where trainings and exports were written, and where an erasure looks."""

from datetime import datetime
from pathlib import Path
from typing import NamedTuple

import click

from recsys.cli.invocation import read_settings
from recsys.cli.options import JSON
from recsys.cli.output import printable, show_json, show_table
from recsys.errors import NotFound
from recsys.runtime import Runtime


@click.group("folders")
def command() -> None:
    """List folders of trainings and exports: an erasure looks there."""


@command.command("list")
@JSON
def list_folders(is_json: bool) -> None:
    """List the folders, the oldest first of each kind, and whether they are on this machine."""
    with Runtime(read_settings()) as runtime:
        folders = _folders(runtime)
    if is_json:
        shown = [each._asdict() | {"written_at": each.written_at.isoformat()} for each in folders]
        show_json(shown)
        return
    rows = [
        (
            printable(each.folder),
            each.kind,
            f"{each.written_at:%Y-%m-%d %H:%M}",
            "yes" if each.is_here else "no",
        )
        for each in folders
    ]
    show_table(["folder", "kind", "written (UTC)", "here"], rows)


@command.command("forget")
@click.argument("folder", type=click.Path(path_type=Path))
def forget(folder: Path) -> None:
    """Forget FOLDER, which no longer exists anywhere; exit code 3 for one that is not known.

    No file is removed. From then on an erasure neither looks there nor names it.
    """
    named = str(folder.resolve())
    with Runtime(read_settings()) as runtime:
        was_training = runtime.trainings.forget(named)
        if not runtime.cluster_exports.forget(named) and not was_training:
            raise NotFound(
                f"nothing is known of {named}: `recsys folders list` shows the folders that are"
            )
    click.echo(f"{printable(named)} is forgotten")


class _Folder(NamedTuple):
    """A folder that something of many users was written to."""

    folder: str
    kind: str
    written_at: datetime
    is_here: bool


def _folders(runtime: Runtime) -> list[_Folder]:
    trainings = [
        _Folder(each.folder, "training", each.trained_at, Path(each.folder).is_dir())
        for each in runtime.trainings.all()
    ]
    exports = [
        _Folder(each.folder, f"{each.format} export", each.exported_at, Path(each.folder).is_dir())
        for each in runtime.cluster_exports.all()
    ]
    return trainings + exports
