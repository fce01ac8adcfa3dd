"""Other ways of adapting than P_v, beside it, on one new population: `make adapting-ways`.

Each way is fitted to the same people from the same image tokens, by the loop and the draws of
`recsys adapt`, and the same others are asked behind 0 to 8 of their own references: the model
alone, and blended with the taste of those who were learned from.

    model    the checkpoint
    adapted  P_v trained further: what `recsys adapt` does
    classes  P_v of each latent class of the cold start, mixed by the person's classes
    few      P_v, with more weight on few references
    prefix   a low-rank prefix of keys and values in each layer, beside P_v
    lora     LoRA of rank 2 on attention, beside P_v

Each way is a piece of its own, and a run that was stopped goes on. Worlds are those of
`make adaptation`, if that has drawn as many people.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import click
from rich.console import Console

from recsys.scorer.checkpoint import checkpoint_version, find_checkpoint, read_config
from recsys.scorer.config import ScorerConfig
from tests.benchmarks.adaptation import Population, population_of
from tests.benchmarks.adapting_ways.measuring import Experiment, Measured
from tests.benchmarks.adapting_ways.tables import figures, markdown
from tests.benchmarks.adapting_ways.ways import ADAPTED, UNADAPTED, WAYS

TOY_USERS, TOY_ASKED, TOY_STEPS = 120, 8, 3


def measure(experiment: Experiment, names: Sequence[str]) -> str:
    """Measure the checkpoint, P_v and the ways named; what is measured so far is written each time.

    Args:
        experiment: where.
        names: of ways.

    Returns:
        All tables.
    """
    ways = (UNADAPTED, ADAPTED, *(way for way in WAYS if way.name in names))
    measured: list[Measured] = []
    for way in ways:
        measured.append(experiment.measured(way))
        if way is not UNADAPTED:
            text = _written(experiment, measured)
    return text


def _written(experiment: Experiment, measured: Sequence[Measured]) -> str:
    found = figures(measured, experiment.bounds())
    text = markdown(found, measured)
    (experiment.folder / "figures.json").write_text(json.dumps(found, indent=1) + "\n")
    (experiment.folder / "table.md").write_text(text + "\n")
    return text


def toy_population(communities: int, *, num_references: int, out: Path) -> Population:
    """A few people with small images, and choices enough for a scorer of so many references."""
    place = out / "toy" / f"{num_references}-references"
    sizes = {
        "num_choices": 8 + num_references,
        "num_prompts": 40,
        "images_per_prompt": 4,
        "size_px": 32,
    }
    return replace(population_of(communities, num_users=TOY_USERS, out=place), sizes=sizes)


@click.command()
@click.option("--checkpoint", default="tiny", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/adaptation"))
@click.option("--population", type=click.IntRange(0), default=101, show_default=True)
@click.option(
    "--way",
    "names",
    type=click.Choice([way.name for way in WAYS]),
    multiple=True,
    default=[way.name for way in WAYS],
    show_default=True,
    help="Beside the checkpoint and adapted P_v. Repeatable.",
)
@click.option("--users", "num_users", type=click.IntRange(150), default=600, show_default=True)
@click.option(
    "--asked", "num_asked", type=click.IntRange(2), help="At most; as many as are learned from."
)
@click.option("--steps", type=click.IntRange(1), default=300, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
@click.option("--toy", is_flag=True, help="A few people, small images and three steps: to try it.")
def main(
    checkpoint: str,
    out: Path,
    population: int,
    names: tuple[str, ...],
    num_users: int,
    num_asked: int | None,
    steps: int,
    threads: int,
    toy: bool,
) -> None:
    """Measure what is not measured yet, and print a table.

    It is in table.md and its numbers in figures.json, in a folder of OUT named by model version.
    """
    import torch

    torch.set_num_threads(threads)
    version = checkpoint_version(checkpoint)[:12]
    if toy:
        config = ScorerConfig.from_json(read_config(find_checkpoint(checkpoint))["scorer"])
        whose = toy_population(population, num_references=config.num_references, out=out)
        out, num_asked, steps = out / "toy", TOY_ASKED, TOY_STEPS
    else:
        whose = population_of(population, num_users=num_users, out=out)
        num_asked = num_asked or num_users
    folder = out / version / "ways" / f"{population}-{whose.num_users}-{num_asked}-{steps}"
    folder.mkdir(parents=True, exist_ok=True)
    with whose.opened() as runtime:
        experiment = Experiment(
            checkpoint, whose, runtime, folder, num_asked, steps, Console(stderr=True)
        )
        click.echo(measure(experiment, names))


if __name__ == "__main__":
    main()
