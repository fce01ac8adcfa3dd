"""What adapting a checkpoint adds to what is served, over several populations: `make adaptation`.

For each population (a world's communities) people are drawn twice: the checkpoint is adapted to
the first, and the others are asked about the same pairs behind 0 to 8 of their own references in
four ways:

    model    the checkpoint
    adapted  the adapted checkpoint
    blend    the checkpoint, blended with the taste of those who were learned from
    both     the adapted checkpoint, blended likewise

Beside them stands the best possible. Nobody who is asked is learned from in any way. Each
population is a piece of its own, and a run that was stopped goes on; other checkpoints find the
worlds drawn already. Intervals of one population are drawn over its people. Where populations are
pooled they are what varies, five of them: Student's interval over their means.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click
import numpy as np
from jaxtyping import Float
from rich.console import Console

from recsys.runtime import Runtime
from recsys.scorer.checkpoint import checkpoint_version
from storage.files import replace_file
from training.claims.estimates import crossed
from training.data.samples import learnable_user_ids
from training.evaluation.checkpoints import CheckpointAnswers, ask_checkpoints
from training.evaluation.comparison import ByCount
from training.evaluation.four_ways import DECISIVE_COUNT, Possible
from training.evaluation.metrics import QUANTILES, accuracy
from training.evaluation.section import markdown
from training.fitting.adapting.adaptation import Adaptation
from training.fitting.adapting.tuning import Tuning
from training.world.creation import create_world
from training.world.folder import open_folder
from training.world.truth import read_truth

POPULATIONS = (101, 102, 103, 104, 105, 0)
TRAINED_ON = 0
"""The communities that the shipped checkpoint learned from; the others are new to it."""
FIRST_SEED = 7501
"""People of the populations above are of worlds 7501 to 7512. They were fixed before anything was
measured on them, and nothing was chosen on them."""
NUM_DRAWS = 2000
WAYS = ("model", "adapted", "blend", "both")

POPULATION = click.option(
    "--population",
    "populations",
    type=click.IntRange(0),
    multiple=True,
    default=POPULATIONS,
    show_default=True,
    help="Seed of communities, as of `recsys world create --communities`. Repeatable.",
)
"""The option of all that is measured over populations."""

Rights = Mapping[str, Mapping[str, Mapping[str, float]]]
"""By way ("best" and "average" too), number of references and user: share of pairs right."""

Figures = Mapping[str, list[float]]
"""Value, low and high of each row of a table, by its name."""


@dataclass(frozen=True)
class Population:
    """One population, its place on disk and its people.

    Attributes:
        communities: seed of the communities.
        place: its number among all that may be asked for; seeds come from it.
        num_users: learned from, and so many asked.
        folder: of its world.
        sizes: of the world, beside its people, as of `create_world`; its own by default.
    """

    communities: int
    place: int
    num_users: int
    folder: Path
    sizes: Mapping[str, int] = field(default_factory=dict)

    @property
    def seeds(self) -> tuple[int, int]:
        """Of those who are learned from, and of those who are asked."""
        first = FIRST_SEED + 2 * self.place
        return first, first + 1

    def opened(self) -> Runtime:
        """Its storage, new if need be."""
        return open_folder(self.folder)

    @property
    def truth_path(self) -> Path:
        """Of the file with the world's true tastes."""
        return self.folder / "truth.npz"

    def draw(self, runtime: Runtime) -> None:
        """Draw those who are not there yet."""
        for seed in self.seeds:
            if len(self.people(runtime, seed)) < self.num_users:
                create_world(
                    runtime.store,
                    num_users=self.num_users,
                    seed=seed,
                    communities_seed=self.communities,
                    truth_path=self.truth_path,
                    **self.sizes,
                )

    def people(self, runtime: Runtime, seed: int) -> list[str]:
        """Ids of those of one seed."""
        return [user for user in learnable_user_ids(runtime.store) if user.startswith(f"s{seed}-")]


def population_of(communities: int, *, num_users: int, out: Path) -> Population:
    """A population whose world is drawn once for all that is measured below `out`."""
    others = len(POPULATIONS) + communities
    place = POPULATIONS.index(communities) if communities in POPULATIONS else others
    return Population(communities, place, num_users, out / "worlds" / f"{communities}-{num_users}")


def measured(
    population: Population, checkpoint: str, folder: Path, tuning: Tuning, console: Console
) -> Rights:
    """Draw the people, adapt, and ask; what was measured before is read.

    Args:
        population: whose.
        checkpoint: folder, or the name of a shipped one.
        folder: of what is measured for this checkpoint and population.
        tuning: of the adaptation.
        console: where progress is shown.
    """
    path = folder / "rights.json"
    if path.exists():
        return json.loads(path.read_text())
    learned, asked = population.seeds
    with population.opened() as runtime:
        population.draw(runtime)
        if not (folder / "adapted").exists():
            folder.mkdir(parents=True, exist_ok=True)
            Adaptation(
                checkpoint,
                runtime.store,
                folder / "adapted",
                console,
                tuning=tuning,
                users=population.people(runtime, learned),
                limits=runtime.image_limits,
                image_tokens=runtime.image_tokens_of,
                writes_anyway=True,
                blends=False,
            ).run()
        answers = ask_checkpoints(
            checkpoint,
            folder / "adapted",
            runtime.store,
            users=population.people(runtime, asked),
            truth=read_truth(population.truth_path),
            limits=runtime.image_limits,
            image_tokens=runtime.image_tokens_of,
            progress=lambda what: console.print(f"{population.communities}: {what}"),
        )
    rights = _rights(answers)
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(rights))
    return rights


def _rights(answers: CheckpointAnswers) -> Rights:
    before, after = answers.answers
    assert before.blended is not None, "the world must have enough people to borrow from"
    assert after.blended is not None
    assert answers.world is not None
    columns = dict(
        zip(WAYS, (before.alone, after.alone, before.blended, after.blended), strict=True)
    )
    rights = {way: share_right(by_count) for way, by_count in columns.items()}
    return {**rights, **bounds(answers.world)}


def share_right(answers: ByCount) -> dict[str, dict[str, float]]:
    """By number of references and user, the share of pairs that is right."""
    return {
        str(count): {user: accuracy(own) for user, own in margins.items()}
        for count, margins in answers.items()
    }


def bounds(world: Possible) -> Rights:
    """What a world allows, "best" and "average", as rights are kept."""
    return {
        name: {str(count): dict(each) for count, each in by_count.items()}
        for name, by_count in (("best", world.best), ("average", world.average))
    }


class Bootstrap:
    """Means over the people of a population, with draws of as many people in their place.

    A mean is over those who have so many references: everybody has 8, and some all that is read.

    Args:
        rights: of the population.
    """

    def __init__(self, rights: Rights) -> None:
        self.counts = list(rights["model"])
        self._columns = [(way, count) for way in rights for count in rights[way]]
        users = list(rights["model"]["0"])
        shares = np.array(
            [[rights[way][count].get(u, np.nan) for u in users] for way, count in self._columns]
        )
        even = np.full(len(users), 1 / len(users))
        people = np.random.default_rng(0).multinomial(len(users), even, NUM_DRAWS)
        self._mean = np.nanmean(shares, axis=1)
        with np.errstate(divide="ignore", invalid="ignore"):  # a draw may have none of a few
            self._drawn = people @ np.nan_to_num(shares).T / (people @ np.isfinite(shares).T)

    def of(self, way: str, *counts: str) -> Float[np.ndarray, " D"]:
        """The mean of a way over numbers of references, then its draws."""
        at = [self._columns.index((way, count)) for count in counts]
        return np.concatenate([[self._mean[at].mean()], self._drawn[:, at].mean(axis=1)])

    def closed(self, way: str, count: str) -> Float[np.ndarray, " D"]:
        """The share of the gap from the average taste to the best possible, then its draws."""
        low, high = self.of("average", count), self.of("best", count)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.asarray((self.of(way, count) - low) / (high - low))


def figures(people: Bootstrap) -> Figures:
    """Each row of the table, of one population."""
    decisive = _decisive(people.counts)
    found = {}
    for count in people.counts:
        for way in (*WAYS, "best"):
            found[f"{way} {count}"] = people.of(way, count)
        found[f"adapted gains {count}"] = people.of("adapted", count) - people.of("model", count)
        found[f"both gains {count}"] = people.of("both", count) - people.of("blend", count)
        for way in WAYS if count != "0" else ():
            found[f"{way} closes {count}"] = people.closed(way, count)
    found["both gains decisively"] = people.of("both", *decisive) - people.of("blend", *decisive)
    return {
        name: [float(each[0]), *map(float, np.nanquantile(each[1:], QUANTILES))]
        for name, each in found.items()
    }


def together(found: Sequence[Figures]) -> Figures:
    """The mean of each row over populations, with the interval of Student's t over them.

    Args:
        found: of at least two populations; their own intervals do not matter.
    """
    pooled = {}
    for name in found[0]:
        estimate = crossed(np.array([[each[name][0] for each in found]]))
        pooled[name] = [estimate.value, *estimate.interval]
    return pooled


def table(found: Figures, counts: Sequence[str]) -> str:
    """The figures as a table in Markdown: percent, gains in points, with their intervals."""

    def cell(name: str) -> str:
        if name not in found:
            return "–"
        sign = "+" if "gains" in name else ""
        value, low, high = (f"{100 * each:{sign}.1f}" for each in found[name])
        plain = name.split()[0] in WAYS and len(name.split()) == 2
        return value if plain or name.startswith("best ") else f"{value} ({low} to {high})"

    names = ["model", "adapted", "blend", "both", "best"]
    names += ["adapted gains", "both gains", *(f"{way} closes" for way in WAYS)]
    rows = [[name, *(cell(f"{name} {count}") for count in counts)] for name in names]
    *others, last = _decisive(counts)
    over = f"{', '.join(others)} and {last}" if others else last
    decisive = f"both gains, mean over {over}: {cell('both gains decisively')}"
    return f"{markdown(['references', *counts], rows)}\n\n{decisive}"


def _decisive(counts: Sequence[str]) -> list[str]:
    """The numbers of references that decide, as in `recsys adapt`."""
    return [count for count in counts if int(count) >= DECISIVE_COUNT]


@click.command()
@click.option("--checkpoint", default="tiny", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/adaptation"))
@POPULATION
@click.option("--users", "num_users", type=click.IntRange(150), default=400, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True)
@click.option("--threads", type=click.IntRange(1), default=1, show_default=True)
def main(
    checkpoint: str,
    out: Path,
    populations: tuple[int, ...],
    num_users: int,
    steps: int,
    threads: int,
) -> None:
    """Measure what is not measured yet, and print a table for each population and for all new ones.

    The tables are in table.md and their numbers in figures.json, in a folder of OUT named by model
    version.
    """
    import torch

    torch.set_num_threads(threads)
    console = Console(stderr=True)
    folder = out / checkpoint_version(checkpoint)[:12]
    rights = {}
    for seed in populations:
        population = population_of(seed, num_users=num_users, out=out)
        own = folder / f"{seed}-{num_users}-{steps}"
        rights[seed] = measured(population, checkpoint, own, Tuning(num_steps=steps), console)
    people = {seed: Bootstrap(each) for seed, each in rights.items()}
    found = {f"population {seed}": figures(each) for seed, each in people.items()}
    new = [found[f"population {seed}"] for seed in rights if seed != TRAINED_ON]
    if len(new) > 1:
        found[f"{len(new)} new populations together"] = together(new)
    counts = next(iter(people.values())).counts
    text = "\n\n".join(f"{name}\n\n{table(each, counts)}" for name, each in found.items())
    (folder / "figures.json").write_text(json.dumps(found, indent=1) + "\n")
    (folder / "table.md").write_text(text + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
