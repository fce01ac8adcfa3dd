"""Preference tokens adapted to people of communities that the model never saw: before and after.

Some people of a new population are learned from by the steps of `recsys adapt`, fewer at a higher
rate and without early stopping; others are asked before and after, of the model alone, and nothing
is written. `NewPopulation` has all sizes: few enough that it takes seconds.
"""

import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from recsys.counts import counted
from recsys.runtime import Runtime
from recsys.scorer.model import PreferenceScorer
from storage.histories import HistoryStore
from training.cli.terminal import show_grid
from training.data.encoding import Encoded, encode_all
from training.data.samples import PairTable, read_pair_table
from training.demo.commands import DemoStorage
from training.evaluation.bounds import best_by_references
from training.evaluation.comparison import Gain, answers_by_references, compare
from training.evaluation.four_ways import FourWays
from training.evaluation.questions import newest_samples
from training.fitting.adapting.dealing import NUM_PAIRS, Dealt
from training.fitting.adapting.learning import learn, step_draws
from training.fitting.adapting.tuning import Tuning
from training.fitting.assembly import second_parameters
from training.fitting.trainer import Run
from training.world.creation import create_world
from training.world.truth import WorldTruth, read_truth

_QUIET = Console(quiet=True)
"""One display at a time: a spinner turns meanwhile."""


@dataclass(frozen=True)
class NewPopulation:
    """Whose people, how many of them, and how preference tokens are trained on them.

    Attributes:
        communities: their seed. Of the ten from 20,001 on, the one whose average taste tells most
            pairs: what people share is what preference tokens can hold.
        seeds: of those who are learned from, and of those who are asked: other people, who choose
            among other images.
        num_people: in the same order.
        num_choices: of each person.
        num_prompts, images_per_prompt: to choose among, for either.
        num_references: pairs are asked behind none and behind so many, or as many as are read.
        num_users: people of a training step.
        tuning: of the training, without privacy.
    """

    communities: int = 20_008
    seeds: tuple[int, int] = (20_001, 20_002)
    num_people: tuple[int, int] = (60, 120)
    num_choices: int = 16
    num_prompts: int = 80
    images_per_prompt: int = 4
    num_references: int = 8
    num_users: int = 8
    tuning: Tuning = field(default_factory=lambda: Tuning(num_steps=20, learning_rate=0.3))

    @property
    def counts(self) -> list[int]:
        """Numbers of references behind which the same pairs are asked."""
        return sorted({0, self.num_references})


@dataclass(frozen=True)
class Measured:
    """What came of an adaptation.

    Attributes:
        ways: the model with its preference tokens adapted, against itself before.
        num_learned: people who were learned from.
        num_tokens: preference tokens.
        training_s: seconds of training.
        seconds: of all: people drawn, images read, questions and training.
    """

    ways: FourWays
    num_learned: int
    num_tokens: int
    training_s: float
    seconds: float

    @property
    def gains(self) -> Mapping[int, Gain]:
        """By number of references."""
        return self.ways.alone.by_references


def show_adaptation(console: Console, population: NewPopulation) -> None:
    """Adapt the checkpoint that the settings name, and print what came of it.

    Args:
        console: where it is printed.
        population: to whom.
    """
    with (
        tempfile.TemporaryDirectory(prefix="recsys-demo-") as folder,
        console.status("drawing a new population") as status,
    ):
        measured = adapt_to(population, Path(folder), progress=status.update)
    if measured is None:
        console.print("The checkpoint has no preference tokens that could be adapted.\n")
        return
    asked = next(iter(measured.gains.values())).gained
    console.print(
        f"A new population, of communities that the model never saw: its {measured.num_tokens}"
        f" preference tokens alone are trained on {counted(measured.num_learned, 'user')}, and"
        f" {asked.n_users} others are asked about {counted(asked.n_pairs, 'pair')} before and"
        " after. The share that is right:",
        soft_wrap=True,
    )
    (grid,) = measured.ways.grids()
    show_grid(grid)
    for count, gain in measured.gains.items():
        console.print(_verdict(count, gain), soft_wrap=True)
    console.print(
        f"The training took {measured.training_s:.0f} s, all of it {measured.seconds:.0f} s:"
        " drawing the users, reading their images and asking, too. `recsys adapt` does more for"
        " users in storage, and may gain less: here are fewer steps at a higher rate and no early"
        " stopping, nothing is blended in or written, and the average taste of this population"
        " tells much.\n",
        soft_wrap=True,
    )


def adapt_to(
    population: NewPopulation, folder: Path, *, progress: Callable[[str], None] = lambda what: None
) -> Measured | None:
    """Draw the people, ask, train P_v alone, and ask again.

    Args:
        population: to whom.
        folder: for their choices and the run; empty.
        progress: called with what is done next.

    Returns:
        What was measured; None of a checkpoint without preference tokens.
    """
    began = time.monotonic()
    torch.set_num_threads(1)  # as for the commands
    with DemoStorage(folder / "data").runtime() as runtime:
        scorer = runtime.load_scorer(runtime.settings.checkpoint)
        if not scorer.config.num_preference_tokens:
            return None
        most = min(population.num_references, scorer.config.num_references)
        population = replace(population, num_references=most)
        truth = _create(population, runtime.store, folder / "truth.npz")
        progress("reading their images")
        table = read_pair_table(runtime.store)
        dealt = _deal(population, table)
        encoded = _encode(runtime, scorer, table, dealt)
    ask = partial(
        answers_by_references, scorer, encoded.rows, dealt.comparison, counts=population.counts
    )
    progress("asking before")
    before = ask()
    progress("training the preference tokens")
    training_s = _train(population, scorer, dealt.learned, encoded, folder / "run")
    progress("asking after")
    comparison = compare(before, ask())
    best = best_by_references(dealt.comparison, table, truth, population.counts)
    return Measured(
        FourWays(comparison, best_possible={n: best[str(n)] for n in population.counts}),
        num_learned=dealt.num_people["learned"],
        num_tokens=scorer.config.num_preference_tokens,
        training_s=training_s,
        seconds=time.monotonic() - began,
    )


def _create(population: NewPopulation, store: HistoryStore, truth_path: Path) -> WorldTruth:
    """Let all of them choose, each part among images of its own."""
    for seed, num_users in zip(population.seeds, population.num_people, strict=True):
        create_world(
            store,
            num_users=num_users,
            seed=seed,
            communities_seed=population.communities,
            truth_path=truth_path,
            num_choices=population.num_choices,
            num_prompts=population.num_prompts,
            images_per_prompt=population.images_per_prompt,
        )
    return read_truth(truth_path)


def _deal(population: NewPopulation, table: PairTable) -> Dealt:
    """Those who are learned from, and of the others their newest pairs; nobody validates."""
    learned, asked = (
        {user: own for user, own in table.pairs.items() if user.startswith(f"s{seed}-")}
        for seed in population.seeds
    )
    samples = newest_samples(
        table, asked, seed=0, num_references=population.num_references, num_pairs=NUM_PAIRS
    )
    return Dealt(replace(table, pairs=learned), {}, samples, holds_prompts=False)


def _encode(runtime: Runtime, scorer: PreferenceScorer, table: PairTable, dealt: Dealt) -> Encoded:
    return encode_all(
        scorer,
        runtime.store,
        table.images,
        dealt.rows,
        limits=runtime.image_limits,
        console=_QUIET,
    )


def _train(
    population: NewPopulation,
    scorer: PreferenceScorer,
    learned: PairTable,
    encoded: Encoded,
    folder: Path,
) -> float:
    """Keep the last weights of a few steps of `learn`; returns how many seconds it took."""
    began = time.monotonic()
    tuning = population.tuning
    learn(
        scorer,
        second_parameters(scorer),
        drawn=step_draws(
            learned,
            num_references=population.num_references,
            seed=tuning.seed,
            num_users=population.num_users,
        ),
        encoded=encoded,
        asked={},
        plan=replace(tuning.plan, validate_every=0),
        run=Run(folder, _QUIET, model=scorer),
    )
    return time.monotonic() - began


def _verdict(count: int, gain: Gain) -> str:
    """What the interval of the difference says."""
    if gain.gained.low > 0:
        said = "more are right than before"
    elif gain.gained.high < 0:
        said = "fewer are right than before"
    else:
        said = "the interval includes zero: no difference is certain"
    return f"Behind {counted(count, 'reference')} {said}."
