"""`python -m training.demo`, which `make demo` calls."""

from pathlib import Path

import click


@click.command()
@click.option(
    "--data",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of ratings: items.csv, ratings.csv and images/; a synthetic world by default.",
)
@click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    default=Path("demo-out/demo.png"),
    show_default=True,
    help="File for the picture; the choices and images are kept in a folder data/ beside it.",
)
def main(data: Path | None, out: Path) -> None:
    """Rank the same images for three users of different taste; find neighbours and clusters.

    Without --data the model is then adapted to a new population, and asked before and after.
    """
    from training.demo.story import play

    play(data, out)


if __name__ == "__main__":
    main(prog_name="python -m training.demo")
