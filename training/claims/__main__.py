"""`python -m training.claims`, which `make claims` calls."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from training.cli.terminal import (
    FILE,
    FOLDER,
    THREADS,
    failing_in_a_sentence,
    open_console,
    showing_progress,
)

if TYPE_CHECKING:
    from rich.console import Console

    from recsys.runtime import Runtime
    from training.claims.design import Design
    from training.claims.work import Work


@click.command()
@click.argument("cells", nargs=-1)
@click.option(
    "--folder",
    type=FOLDER,
    default=Path("runs/claims"),
    show_default=True,
    help="Folder of people, bases, runs and answers.",
)
@click.option(
    "--page", type=FILE, help="File of the page that is written: claims.md in FOLDER by default."
)
@click.option(
    "--base",
    "bases",
    metavar="NAME=FOLDER",
    multiple=True,
    help="Folder of a `recsys pretrain` that made the base NAME elsewhere. Repeatable.",
)
@click.option(
    "--set",
    "changes",
    metavar="NAME=VALUE",
    multiple=True,
    help="Value of all recipes to change, as `recsys train --set` takes it. Repeatable.",
)
@click.option("--list", "lists", is_flag=True, help="List the cells, what is done and the hours.")
@click.option("--toy", is_flag=True, help="Two cells of a handful of people: the road in a minute.")
@THREADS
def main(
    cells: tuple[str, ...],
    folder: Path,
    page: Path | None,
    bases: tuple[str, ...],
    changes: tuple[str, ...],
    lists: bool,
    toy: bool,
    threads: int | None,
) -> None:
    """Train and judge CELLS (all by default) once for each seed, and write the page.

    What is done is not done again, and what was stopped goes on: run the same command. Answers are
    files in FOLDER/answers; those of other machines may be copied there. Several processes may
    share a folder.
    """
    from training.claims.design import DESIGN, TOY

    console = open_console(threads)
    design = TOY if toy else DESIGN
    with _runtime(folder.resolve()) as runtime, failing_in_a_sentence():
        work = _work(design, runtime, folder, console, _given(bases), changes)
        if lists:
            from training.claims.listing import show_pieces

            show_pieces(work, cells)
            return
        with showing_progress(console) as progress:
            left = work.run(cells, progress=progress)
        for why in left:
            console.print(why, markup=False, soft_wrap=True)
        click.echo(f"page: {_write_page(work, page or folder / 'claims.md')}")


def _runtime(folder: Path) -> "Runtime":
    """The database, blobs and image tokens of the folder."""
    from training.world.folder import open_folder

    return open_folder(folder / "world", image_tokens_folder=str(folder / "image-tokens"))


def _given(bases: Sequence[str]) -> dict[str, Path]:
    """NAME=FOLDER of each base by name."""
    from training.claims.bases import PRETRAINING

    given = {}
    for each in bases:
        name, separator, folder = each.partition("=")
        if not separator or name not in PRETRAINING:
            names = " or ".join(PRETRAINING)
            raise click.UsageError(f"--base takes NAME=FOLDER with the name {names}, got {each!r}")
        given[name] = Path(folder)
    return given


def _work(
    design: "Design",
    runtime: "Runtime",
    folder: Path,
    console: "Console",
    given: Mapping[str, Path],
    changes: tuple[str, ...],
) -> "Work":
    from recsys.cli.main import cli
    from training.claims.work import Work

    def command(words: Sequence[str]) -> object:
        return cli.main(list(words), prog_name="recsys", standalone_mode=False)

    return Work(
        design,
        runtime,
        folder,
        console,
        command=command,
        given=given,
        changes=changes,
    )


def _write_page(work: "Work", path: Path) -> Path:
    from training.claims.page import page

    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(work), encoding="utf-8")
    return path


if __name__ == "__main__":
    main(prog_name="python -m training.claims")
