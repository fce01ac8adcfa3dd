"""What differential privacy costs: accuracy after `recsys adapt --epsilon`: `make private`.

For each number of people the shipped checkpoint is adapted to people of communities that it never
saw, without privacy and at each epsilon, and asks others of the same communities, and about other
images, behind 0 to 8 of their own references. Each pair of a number and an epsilon is a piece of
its own: a run that was stopped goes on.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click
import torch
from rich.console import Console

from recsys.runtime import Runtime
from storage.files import replace_file
from training.data.features import features_of
from training.data.samples import learnable_user_ids, read_pair_table
from training.evaluation.comparison import ByCount, answers_by_references, compare
from training.evaluation.questions import NUM_REFERENCES, newest_samples
from training.evaluation.results import plain
from training.evaluation.section import NOTHING, markdown
from training.fitting.adapting.adaptation import Adaptation
from training.fitting.adapting.dealing import NUM_PAIRS
from training.fitting.adapting.privacy import Privacy
from training.fitting.adapting.tuning import Tuning
from training.world.creation import create_world
from training.world.folder import open_folder

LEARNERS, JUDGES = 8101, 8102
NUM_JUDGES = 400
NUM_PROMPTS = 800
"""Of either world, however many people: with them the images grow, which are read once."""

Ask = Callable[[str | Path], ByCount]
"""Given a checkpoint: what it says of the judges' pairs."""


@dataclass(frozen=True)
class Arm:
    """One adaptation.

    Attributes:
        num_users: in the storage that is adapted to.
        epsilon: None: without privacy.
    """

    num_users: int
    epsilon: float | None

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"{self.num_users}-{'none' if self.epsilon is None else format(self.epsilon, 'g')}"


def fill(runtime: Runtime, folder: Path, *, num_users: int, seed: int, communities: int) -> None:
    """Draw a world of so many people, if it is not there whole."""
    if sum(user.startswith(f"s{seed}-") for user in learnable_user_ids(runtime.store)) < num_users:
        create_world(
            runtime.store,
            num_users=num_users,
            seed=seed,
            communities_seed=communities,
            num_prompts=NUM_PROMPTS,
            truth_path=folder / "truth.npz",
        )


def asker(runtime: Runtime) -> Ask:
    """Asks the people of a storage about their newest pairs, behind 0 to 8 references."""
    table = read_pair_table(runtime.store)
    tokens = features_of(
        runtime.store,
        table.images,
        limits=runtime.image_limits,
        tokens=runtime.image_tokens_of,
    )

    def ask(checkpoint: str | Path) -> ByCount:
        scorer = runtime.load_scorer(checkpoint)
        count = min(NUM_REFERENCES, scorer.config.num_references)
        samples = newest_samples(
            table, table.pairs, seed=0, num_references=count, num_pairs=NUM_PAIRS
        )
        return answers_by_references(scorer, tokens(scorer), samples)

    return ask


def measured(
    arm: Arm, checkpoint: str, out: Path, ask: Ask, tuning: Mapping[str, Any], communities: int
) -> dict[str, Any]:
    """Adapt, ask, and keep what was gained; what was measured before is read."""
    path = out / f"{arm.name}.json"
    if path.exists():
        return dict(json.loads(path.read_text()))
    privacy = None if arm.epsilon is None else Privacy(arm.epsilon)
    folder, adapted = out / f"people-{arm.num_users}", out / arm.name
    if not adapted.exists():
        with open_folder(folder) as runtime:
            fill(
                runtime,
                folder,
                num_users=arm.num_users,
                seed=LEARNERS,
                communities=communities,
            )
            Adaptation(
                checkpoint,
                runtime.store,
                adapted,
                Console(stderr=True),
                tuning=Tuning(privacy=privacy, **tuning),
                limits=runtime.image_limits,
                image_tokens=runtime.image_tokens_of,
                load=runtime.load_scorer,
                writes_anyway=True,
                blends=False,
            ).run()
    told = json.loads((adapted / "adapted.json").read_text())
    found = {
        **asdict(arm),
        "num_learned": told["num_people"]["learned"],
        "privacy": told["privacy"],
        "comparison": plain(compare(ask(checkpoint), ask(adapted))),
    }
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(found, indent=1) + "\n")
    return found


def table_of(found: Sequence[Mapping[str, Any]]) -> str:
    """The arms as a table in Markdown: top-1 in percent, the gain in points."""
    counts = list(found[0]["comparison"]["by_references"])
    heads = ["people", "ε", "noise", *counts, "mean gain, points (95 % interval)"]
    first = found[0]["comparison"]["by_references"].values()
    rows = [[NOTHING, "not adapted", NOTHING, *_percents(first, "before"), NOTHING]]
    for each in found:
        privacy, mean = each["privacy"], each["comparison"]["mean"]
        gained = "{:+.1f} ({:+.1f} to {:+.1f})".format(
            *(100 * mean[name] for name in ("value", "low", "high"))
        )
        epsilon = "none" if privacy is None else f"{each['epsilon']:g}"
        noise = NOTHING if privacy is None else f"{privacy['noise_multiplier']:.2f}"
        reached = _percents(each["comparison"]["by_references"].values(), "after")
        rows.append([each["num_users"], epsilon, noise, *reached, gained])
    return markdown(heads, rows)


def _percents(gains: Any, when: str) -> list[str]:
    return [f"{100 * gain[when]['value']:.1f}" for gain in gains]


@click.command()
@click.option("--checkpoint", default="tiny", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/private"))
@click.option(
    "--users", "sizes", type=int, multiple=True, default=(400, 2000, 10_000), show_default=True
)
@click.option("--epsilon", "epsilons", type=float, multiple=True, default=(1.0, 2.0, 4.0, 8.0))
@click.option("--communities", type=click.IntRange(0), default=7, show_default=True)
@click.option("--steps", type=click.IntRange(1), default=200, show_default=True)
@click.option("--learning-rate", type=float, default=3e-2, show_default=True)
@click.option("--judges", type=click.IntRange(2), default=NUM_JUDGES, show_default=True)
def main(
    checkpoint: str,
    out: Path,
    sizes: tuple[int, ...],
    epsilons: tuple[float, ...],
    communities: int,
    steps: int,
    learning_rate: float,
    judges: int,
) -> None:
    """Measure what is not measured yet, print a table, and write it to OUT/table.md.

    Other values of the options need another OUT, but for more sizes and epsilons.
    """
    torch.set_num_threads(1)
    tuning = {"num_steps": steps, "learning_rate": learning_rate}
    found = []
    place = out / "judges"
    with open_folder(place) as runtime:
        fill(runtime, place, num_users=judges, seed=JUDGES, communities=communities)
        ask = asker(runtime)
        for arm in [Arm(size, each) for size in sizes for each in (None, *epsilons)]:
            found.append(measured(arm, checkpoint, out, ask, tuning, communities))
            text = table_of(found)
            (out / "table.md").write_text(text + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
