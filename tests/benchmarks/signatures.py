"""How well each readout of a signature finds people of like taste: `make signatures`.

The people are those who are asked by `make adaptation`, of populations that the checkpoint never
saw and of the one that it was trained on. Each history gives random halves of at most 8 references;
the first is read, and what the service reads of the whole. Differences are paired by person;
where populations are pooled they are what varies: Student's interval over their means.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np
from jaxtyping import Float

from recsys.scorer.checkpoint import find_checkpoint, load_scorer
from recsys.scorer.digests import files_digest
from storage.files import replace_file
from tests.benchmarks.adaptation import POPULATION, TRAINED_ON, Population, population_of
from training.claims.estimates import crossed
from training.data.features import features_of
from training.data.samples import read_pair_table
from training.evaluation.metrics import QUANTILES
from training.evaluation.retrieval import taste_scale
from training.evaluation.section import markdown
from training.evaluation.signature_figures import NotMeasured
from training.evaluation.signature_judge import open_signature_judge
from training.evaluation.signature_world import labelled_by_strangers, posterior_tastes
from training.world.truth import read_truth

READOUTS = ("scores", "attention", "both")
CEILING, STRANGERS, TRUE = "the ceiling", "chosen by strangers", "true nearest"
NUM_DRAWS = 2000

Gains = Mapping[str, list[float]]
"""By what was read: of each person the mean cosine of true taste to the 10 nearest, less that to
random people; "whole" behind a readout's name is of what the service reads."""


def measured(population: Population, checkpoint: str, path: Path) -> Gains:
    """What each readout finds; what was measured before is read.

    Args:
        population: whose people are drawn if they are not there.
        checkpoint: folder, or the name of a shipped one.
        path: of what is measured for this checkpoint and population.
    """
    if path.exists():
        return dict(json.loads(path.read_text()))
    with population.opened() as runtime:
        population.draw(runtime)
        folder = find_checkpoint(checkpoint)
        scorer, table = load_scorer(folder), read_pair_table(runtime.store)
        tokens = features_of(
            runtime.store,
            table.images,
            limits=runtime.image_limits,
            tokens=runtime.image_tokens_of,
        )
        asked = population.people(runtime, population.seeds[1])
        judge = open_signature_judge(scorer, folder, table, tokens(scorer), asked)
        if isinstance(judge, NotMeasured):
            raise click.ClickException(judge.why)
        truth = read_truth(population.truth_path)
        cuts, served = judge.cuts, judge.readers.served
        halves = [cut.first for cut in cuts.values()]
        vectors = {name: judge.signatures(halves, name, name) for name in READOUTS}
        whole = [cut.whole for cut in cuts.values()]
        vectors |= {f"{name}, whole": judge.signatures(whole, name, name) for name in READOUTS}
        strangers = labelled_by_strangers(cuts, table, truth, seed=0)
        vectors[STRANGERS] = judge.signatures(strangers, STRANGERS, served)
        vectors[CEILING] = posterior_tastes(cuts, table, truth, seed=0)[0]
    scale = taste_scale(np.stack([truth.taste(user) for user in cuts]))
    gains = {name: (scale.shared(rows) - scale.random).tolist() for name, rows in vectors.items()}
    gains[TRUE] = (scale.best - scale.random).tolist()
    path.parent.mkdir(parents=True, exist_ok=True)
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(gains))
    return gains


def figures(gains: Gains) -> dict[str, Float[np.ndarray, " D"]]:
    """Each row of the table, of one population: its value, then draws of as many people.

    A readout's taste is 0 where random people are found and 1 where the true nearest are.
    """
    own = {name: np.array(each) for name, each in gains.items()}
    num_people = len(own[TRUE])
    even = np.full(num_people, 1 / num_people)
    drawn = np.random.default_rng(0).multinomial(num_people, even, NUM_DRAWS) / num_people
    weights = np.concatenate([np.full((1, num_people), 1 / num_people), drawn])
    mean = {name: weights @ each for name, each in own.items()}
    found = {name: each / mean[TRUE] for name, each in mean.items() if name != TRUE}
    for name in READOUTS[1:]:
        for end in ("", ", whole"):
            found[f"{name} less scores{end}"] = found[name + end] - found["scores" + end]
    found |= {f"{name}, of the ceiling": mean[name] / mean[CEILING] for name in READOUTS}
    return found


def table(found: Mapping[int, Mapping[str, Float[np.ndarray, " D"]]]) -> str:
    """A column a population, and the new ones together, as Markdown."""
    new = [each for seed, each in found.items() if seed != TRAINED_ON]

    def cell(values: Float[np.ndarray, " D"]) -> str:
        low, high = np.quantile(values[1:], QUANTILES)
        return f"{values[0]:.3f} ({low:.3f} to {high:.3f})"

    def pooled(name: str) -> list[str]:
        if len(new) < 2:
            return []
        estimate = crossed(np.array([[each[name][0] for each in new]]))
        low, high = estimate.interval
        return [f"{estimate.value:.3f} ({low:.3f} to {high:.3f})"]

    names = next(iter(found.values()))
    rows = [[name, *(cell(each[name]) for each in found.values()), *pooled(name)] for name in names]
    heads = [f"population {seed}" for seed in found]
    together = [f"{len(new)} new populations together"] if len(new) > 1 else []
    return markdown(["taste of the 10 nearest", *heads, *together], rows)


@click.command()
@click.option("--checkpoint", default="tiny", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("runs/adaptation"))
@POPULATION
@click.option("--users", "num_users", type=click.IntRange(21), default=400, show_default=True)
def main(checkpoint: str, out: Path, populations: tuple[int, ...], num_users: int) -> None:
    """Measure what is not measured yet, and print a table."""
    import torch

    torch.set_num_threads(1)
    part = files_digest(find_checkpoint(checkpoint) / "signature")[:12]
    found = {}
    for seed in populations:
        population = population_of(seed, num_users=num_users, out=out)
        path = out / "signatures" / part / f"{seed}-{num_users}.json"
        found[seed] = figures(measured(population, checkpoint, path))
    text = table(found)
    (out / "signatures" / part / "table.md").write_text(text + "\n")
    click.echo(text)


if __name__ == "__main__":
    main()
