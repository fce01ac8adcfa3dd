"""What differential privacy costs: accuracy after `recsys adapt --epsilon`: `make private`.

For each number of people the shipped checkpoint is adapted to people of communities that it never
saw, and asks others of the same communities, and about other images, behind 0 to 8 of their own
references. It is adapted as `recsys adapt` does without privacy; by the mechanism of privacy with
clipping and without noise, which is what noise is to be compared with, for the mechanism draws
more people a step and keeps the last weights; and by it at each epsilon.

Each of these is run several times, with draws and noise of its own. A run is a piece: what was
stopped goes on. Intervals are over runs and the people who are asked, both of them drawn.
"""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import click
import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console

from recsys.runtime import Runtime
from recsys.scorer.checkpoint import checkpoint_version
from storage.files import replace_file
from tests.benchmarks.adaptation import share_right
from training.claims.estimates import Estimate, crossed
from training.data.features import features_of
from training.data.samples import learnable_user_ids, read_pair_table
from training.evaluation.comparison import answers_by_references
from training.evaluation.questions import NUM_REFERENCES, newest_samples
from training.evaluation.section import NOTHING, markdown
from training.fitting.adapting.adaptation import Adaptation
from training.fitting.adapting.dealing import NUM_PAIRS
from training.fitting.adapting.privacy import WITHOUT_NOISE, Privacy
from training.fitting.adapting.tuning import Tuning
from training.world.creation import create_world
from training.world.folder import open_folder

LEARNERS, JUDGES = 8101, 8102
NUM_JUDGES = 400
SIZES = {"num_prompts": 800}
"""Of either world, however many people: with prompts the images grow, which are read once."""

CAPTION = (
    "Top-1 in percent behind so many references, the mean of all runs. Gains over the checkpoint"
    " that is not adapted, and over the mechanism without noise, are in points, the mean over"
    " numbers of references; their 95 % intervals are over runs and judges, both taken as drawn"
    " (`training.claims.estimates.crossed`)."
)

Rights = Mapping[str, Mapping[str, float]]
"""By number of references and judge, the share of pairs that is right."""

Ask = Callable[[str | Path], Rights]
"""Given a checkpoint: what it says of the judges' pairs."""


@dataclass(frozen=True)
class Arm:
    """One way to adapt to so many people.

    Attributes:
        num_users: in the storage that is adapted to.
        epsilon: infinite: the mechanism without its noise; None: as `recsys adapt` without privacy.
    """

    num_users: int
    epsilon: float | None

    @property
    def name(self) -> str:
        """Of its folders."""
        way = "ordinary" if self.epsilon is None else format(self.epsilon, "g")
        return f"{self.num_users}-{way}"

    @property
    def privacy(self) -> Privacy | None:
        """What an adaptation is asked for."""
        if self.epsilon is None:
            return None
        return WITHOUT_NOISE if self.epsilon == math.inf else Privacy(self.epsilon)


@dataclass(frozen=True)
class Experiment:
    """One checkpoint and one population, the same for every arm.

    Attributes:
        checkpoint: folder, or the name of a shipped one.
        out: of all that is measured, worlds included, which other checkpoints find drawn already.
        communities: seed of the communities that all people belong to.
        num_judges: people who are asked.
        num_steps, learning_rate: of each adaptation.
        sizes: of both worlds, beside their people, as of `create_world`.
    """

    checkpoint: str
    out: Path
    communities: int = 7
    num_judges: int = NUM_JUDGES
    num_steps: int = 200
    learning_rate: float = 3e-2
    sizes: Mapping[str, int] = field(default_factory=lambda: SIZES)

    @property
    def folder(self) -> Path:
        """Of all that is measured with these values, by model version."""
        values = (self.communities, self.num_judges, self.num_steps, f"{self.learning_rate:g}")
        return self.out / checkpoint_version(self.checkpoint)[:12] / "-".join(map(str, values))

    def world(self, seed: int, num_users: int) -> Path:
        """The folder of a world of so many people."""
        return self.out / "worlds" / f"{self.communities}-{seed}-{num_users}"

    def filled(self, seed: int, num_users: int) -> Runtime:
        """The storage of a world, drawn if it is not there whole."""
        folder = self.world(seed, num_users)
        runtime = open_folder(folder)
        if len([*learnable_user_ids(runtime.store)]) < num_users:
            create_world(
                runtime.store,
                num_users=num_users,
                seed=seed,
                communities_seed=self.communities,
                truth_path=folder / "truth.npz",
                **self.sizes,
            )
        return runtime

    def judges(self) -> Runtime:
        """The storage of those who are asked."""
        return self.filled(JUDGES, self.num_judges)


def asker(runtime: Runtime) -> Ask:
    """Asks the people of a storage about their newest pairs, behind 0 to 8 references."""
    table = read_pair_table(runtime.store)
    tokens = features_of(
        runtime.store,
        table.images,
        limits=runtime.image_limits,
        tokens=runtime.image_tokens_of,
    )

    def ask(checkpoint: str | Path) -> Rights:
        scorer = runtime.load_scorer(checkpoint)
        samples = newest_samples(
            table,
            table.pairs,
            seed=0,
            num_references=min(NUM_REFERENCES, scorer.config.num_references),
            num_pairs=NUM_PAIRS,
        )
        return share_right(answers_by_references(scorer, tokens(scorer), samples))

    return ask


def unadapted(experiment: Experiment, ask: Ask) -> Rights:
    """What the checkpoint says as it is; what was asked before is read."""
    path = experiment.folder / "unadapted.json"
    if not path.exists():
        _keep(path, ask(experiment.checkpoint))
    return dict(json.loads(path.read_text()))


def measured(arm: Arm, seed: int, experiment: Experiment, ask: Ask) -> dict[str, Any]:
    """Adapt and ask, once; what was measured before is read.

    Args:
        arm: how, and to how many.
        seed: of the run.
        experiment: where, and with what values.
        ask: the judges.
    """
    adapted = experiment.folder / f"{arm.name}-{seed}"
    path = adapted.with_name(f"{adapted.name}.json")
    if path.exists():
        return dict(json.loads(path.read_text()))
    if not adapted.exists():
        adapted.parent.mkdir(parents=True, exist_ok=True)
        tuning = Tuning(experiment.num_steps, experiment.learning_rate, seed, arm.privacy)
        with experiment.filled(LEARNERS, arm.num_users) as runtime:
            Adaptation(
                experiment.checkpoint,
                runtime.store,
                adapted,
                Console(stderr=True),
                tuning=tuning,
                limits=runtime.image_limits,
                image_tokens=runtime.image_tokens_of,
                load=runtime.load_scorer,
                writes_anyway=True,
                blends=False,
            ).run()
    told = json.loads((adapted / "adapted.json").read_text())
    found = {
        "arm": {**asdict(arm), "epsilon": None if arm.epsilon is None else f"{arm.epsilon:g}"},
        "seed": seed,
        "num_learned": told["num_people"]["learned"],
        "privacy": told["privacy"],
        "rights": ask(adapted),
    }
    _keep(path, found)
    return found


def _keep(path: Path, found: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")


Found = Mapping[Arm, Sequence[Mapping[str, Any]]]
"""The runs of each arm, by seed."""


def gained(runs: Sequence[Mapping[str, Any]], before: Rights) -> Float[np.ndarray, "S U"]:
    """By run and judge, the gain, the mean over the numbers of references that the judge has."""
    users = list(next(iter(before.values())))
    return np.array(
        [
            [
                np.mean([run["rights"][n][u] - own[u] for n, own in before.items() if u in own])
                for u in users
            ]
            for run in runs
        ]
    )


def table_of(found: Found, before: Rights) -> str:
    """The arms as a table in Markdown, and what its figures are."""
    heads = ["people", "ε", "noise", "runs", *before, "gain", "less without noise"]
    rows = [[NOTHING, "not adapted", NOTHING, NOTHING, *_percents([before]), NOTHING, NOTHING]]
    for arm, runs in found.items():
        gains = gained(runs, before)
        noiseless = found.get(Arm(arm.num_users, math.inf), ())
        both = min(len(runs), len(noiseless))
        is_compared = arm.epsilon is not None and arm.epsilon < math.inf and both > 0
        cost = crossed(gains[:both] - gained(noiseless[:both], before)) if is_compared else None
        rows.append(
            [
                arm.num_users,
                _epsilon(arm),
                NOTHING if arm.epsilon is None else _noise(runs[0]["privacy"]),
                len(runs),
                *_percents([run["rights"] for run in runs]),
                _points(crossed(gains)),
                NOTHING if cost is None else _points(cost),
            ]
        )
    return f"{CAPTION}\n\n{markdown(heads, rows)}"


def _epsilon(arm: Arm) -> str:
    if arm.epsilon is None:
        return "none: as without `--epsilon`"
    return "∞: clipping without noise" if arm.epsilon == math.inf else f"{arm.epsilon:g}"


def _noise(privacy: Mapping[str, float] | None) -> str:
    return "0" if privacy is None else f"{privacy['noise_multiplier']:.2f}"


def _percents(rights: Sequence[Rights]) -> list[str]:
    means = [[np.mean(list(own.values())) for own in each.values()] for each in rights]
    return [f"{100 * mean:.1f}" for mean in np.mean(means, axis=0)]


def _points(estimate: Estimate) -> str:
    values = (estimate.value, *estimate.interval)
    return "{:+.1f} ({:+.1f} to {:+.1f})".format(*(100 * each for each in values))


@click.command()
@click.option("--checkpoint", default="tiny", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/private"))
@click.option(
    "--users", "sizes", type=int, multiple=True, default=(400, 2000, 10_000), show_default=True
)
@click.option("--epsilon", "epsilons", type=float, multiple=True, default=(1.0, 4.0, 8.0))
@click.option("--runs", "num_runs", type=click.IntRange(1), default=3, show_default=True)
@click.option("--communities", type=click.IntRange(0), default=7, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True)
@click.option("--learning-rate", type=float, default=3e-2, show_default=True)
@click.option("--judges", type=click.IntRange(2), default=NUM_JUDGES, show_default=True)
def main(
    checkpoint: str,
    out: Path,
    sizes: tuple[int, ...],
    epsilons: tuple[float, ...],
    num_runs: int,
    communities: int,
    steps: int,
    learning_rate: float,
    judges: int,
) -> None:
    """Measure what is not measured yet, one run of all before the next, and print a table.

    It is in table.md too, in a folder of OUT named by model version and by the values of the
    options.
    """
    torch.set_num_threads(1)
    experiment = Experiment(checkpoint, out, communities, judges, steps, learning_rate)
    arms = [Arm(size, each) for size in sizes for each in (None, math.inf, *epsilons)]
    found: dict[Arm, list[dict[str, Any]]] = {}
    with experiment.judges() as runtime:
        ask = asker(runtime)
        before = unadapted(experiment, ask)
        for seed in range(num_runs):
            for arm in arms:
                found.setdefault(arm, []).append(measured(arm, seed, experiment, ask))
                text = table_of(found, before)
                (experiment.folder / "table.md").write_text(text + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
