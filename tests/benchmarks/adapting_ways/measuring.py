"""One way measured: fitted to the people who are learned from, and asked about the others."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from rich.console import Console

from recsys.coldstart.population import ColdStart
from recsys.runtime import Runtime
from recsys.scorer.checkpoint import load_scorer
from storage.files import replace_file
from tests.benchmarks.adaptation import Population, Rights, bounds, share_right
from tests.benchmarks.adapting_ways.people import People, meet
from tests.benchmarks.adapting_ways.ways import TOKEN_RATE, Given, Start, Way
from training.data.trained_on import histories_digest
from training.evaluation.four_ways import possible
from training.fitting.adapting.learning import learn
from training.fitting.adapting.tuning import Tuning
from training.fitting.sole_run import sole_run
from training.fitting.trainer import Run
from training.fitting.validation import calibrate
from training.world.truth import read_truth


@dataclass(frozen=True)
class Measured:
    """What one way reaches.

    Attributes:
        way: its name.
        trains: what it trains, in words.
        num_trained: how many numbers that are.
        alone, blended: by number of references and person, the share of pairs that is right: of
            the model, and blended with others' taste.
    """

    way: str
    trains: str
    num_trained: int
    alone: Mapping[str, Mapping[str, float]]
    blended: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True, eq=False)
class Experiment:
    """One checkpoint and one population, the same for every way.

    Attributes:
        checkpoint: folder, or the name of a shipped one.
        population: whose people.
        runtime: with its storage.
        folder: of all that is measured with these values.
        num_asked: people who are asked, at most.
        num_steps: of each way.
        console: where progress is shown.
    """

    checkpoint: str
    population: Population
    runtime: Runtime
    folder: Path
    num_asked: int
    num_steps: int
    console: Console

    @cached_property
    def people(self) -> People:
        """Drawn, read and encoded when something is to be measured."""
        return meet(
            self.population,
            self.runtime,
            load_scorer(self.checkpoint),
            checkpoint=self.checkpoint,
            num_asked=self.num_asked,
            console=self.console,
        )

    @cached_property
    def cold_start(self) -> ColdStart:
        """Of the population, for the checkpoint as it is."""
        return self.people.borrowed(load_scorer(self.checkpoint))

    def measured(self, way: Way) -> Measured:
        """Fit and ask; what was measured before is read, and what was stopped goes on.

        Raises:
            ValueError: if another process is at it, or the checkpoint is none for this way.
            LossNotFinite, RunNotSaved: as `fit`.
        """
        path = self.folder / f"{way.key}.json"
        if path.exists():
            return Measured(**json.loads(path.read_text()))
        with sole_run(self.folder / way.key):
            self.console.print(f"{way.name}: {way.trains}")
            found = self._measure(way)
            _write(path, asdict(found))
        return found

    def bounds(self) -> Rights:
        """What the world allows for the same pairs."""
        path = self.folder / "bounds.json"
        if not path.exists():
            people = self.people
            world = possible(people.asked, people.table, read_truth(self.population.truth_path))
            assert world is not None
            _write(path, bounds(world))
        return dict(json.loads(path.read_text()))

    def _measure(self, way: Way) -> Measured:
        start = self._fitted(way)
        is_changed = bool(start.parameters)
        cold_start = self.people.borrowed(start.scorer) if is_changed else self.cold_start
        answers = self.people.answers(start.scorer, cold_start)
        assert answers.blended is not None
        return Measured(
            way.name,
            way.trains,
            sum(each.numel() for each in start.parameters.values()),
            share_right(answers.alone),
            share_right(answers.blended),
        )

    def _fitted(self, way: Way) -> Start:
        people, tuning = self.people, Tuning(num_steps=self.num_steps)
        torch.manual_seed(tuning.seed)
        scorer = load_scorer(self.checkpoint)
        given = Given(scorer, lambda: self.cold_start, people.encoded.rows)
        start = way.begin(given, way.rank)
        if not start.parameters:
            return start
        bound_to = f"{scorer.model_version} {way.key} {histories_digest(people.dealt.learned)}"
        learn(
            start.scorer,
            start.parameters,
            drawn=way.draws(
                people.dealt.learned,
                num_references=scorer.config.num_references,
                seed=tuning.seed,
            ),
            encoded=people.encoded,
            asked=people.dealt.validation,
            plan=replace(
                tuning.plan, learning_rate=way.learning_rate, token_learning_rate=TOKEN_RATE
            ),
            run=Run(self.folder / way.key, self.console, bound_to, model=start.scorer),
            preference=start.preference,
        )
        calibrate(start.scorer, people.encoded, people.dealt.validation)
        return start


def _write(path: Path, values: object) -> None:
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(values) + "\n")
