"""What is compared with what: people, cells and seeds, written down before anything was trained.

A cell is one way to train. It is trained once for each seed, from a base that all share, on a few
hundred steps; whose weights are kept is decided by people held out for that. Each seed has learners
of its own, so that whom one run learned from, the others never saw.

Twelve cells are trained, around a centre from which one thing is changed: the loss, on a base that
never had L+ and L-, for on one that had them the stages have little left to add; what is trained;
the number of tokens; the number of learners. That number is no claim by itself. P_v are to hold
what people share, so if they help anywhere it is where there are few to learn from, and a gap
between people learned from and others is widest there: so LoRA and P_v alone are trained on 40
people, too. The base as it is, a thirteenth, is asked once, for nothing in it is drawn.

As in the paper, no base has seen preference tokens: nothing stands before a sequence in
pretraining. So P_v begin uniform in every cell that has them, no number of them is what a base
knows, and the base as it is has none.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any, Literal

from training.data.splits import SplitRule
from training.fitting.recipes.overrides import override
from training.fitting.recipes.recipe import Recipe
from training.fitting.recipes.registry import RECIPES
from training.world.creation import IMAGES_A_PROMPT, default_num_prompts

CONTRASTED, UNCONTRASTED = "contrasted", "uncontrasted"
"""Bases by name: pretrained alike, with L+ and L- and without."""

NO_PLACES = "num_preference_tokens=0"
"""Of their recipes: nothing stands before a sequence, and nothing is told of communities."""

FEWER_REFERENCES = 0.25
"""Share of the learners' samples behind fewer references than all; of the others behind all."""


@dataclass(frozen=True)
class PeopleWorld:
    """People of one draw.

    Attributes:
        name: of the group that they form.
        seed: of people, images and choices.
        communities: seed of the communities that they belong to.
        num_users: people.
        num_choices: of each.
        num_prompts: drawn; None: as many as `create_world` takes by default.
    """

    name: str
    seed: int
    communities: int
    num_users: int
    num_choices: int = 24
    num_prompts: int | None = None

    @property
    def num_images(self) -> int:
        """Images that they choose among."""
        prompts = self.num_prompts or default_num_prompts(self.num_users, self.num_choices)
        return prompts * IMAGES_A_PROMPT


@dataclass(frozen=True)
class TrainedCell:
    """One way to train.

    Attributes:
        name: in lower case; names its files.
        base: name of the base.
        contrastive: whether stages have L+ and L- (Eq. 5).
        trains: "all": the two stages, adapter and P_v, then P_v alone; "tokens": P_v alone;
            "nothing": the base as it is.
        num_tokens: K; without any, "all" is the adapter alone.
        num_people: who are learned from.
    """

    name: str
    base: str = CONTRASTED
    contrastive: bool = True
    trains: Literal["all", "tokens", "nothing"] = "all"
    num_tokens: int = 10
    num_people: int = 1000


@dataclass(frozen=True)
class Design:
    """All that decides the test, beside the bases.

    Attributes:
        cells: the centre first.
        seeds: of the runs of each cell.
        learners: where those learned from and validated on come from.
        trained: judged people of the same communities, never learned from.
        new: judged people of other communities, one world each.
        most_learners: set apart for each seed, at least as many as any cell learns from.
        num_validation: people whom weights are chosen by, the same for all cells.
        validation_share: share of `learners` held for that.
        num_pairs: asked of each judged person, at most.
        num_known: first learners of each seed who are asked, too.
        num_known_pairs: asked of each of them, at most, of prompts that nobody learns from.
        reference_counts: references that are read of a judged person, the most last.
        num_steps: of the stage that does the work, stage 1 unless P_v alone are trained.
        num_last_steps: of stage 2 behind a stage 1.
        users_a_step: people of a training step.
        validate_every: steps of a stage.
        num_probes: of the signature, which nothing here looks at.
        pretraining: values of the recipe of all bases, as `recsys pretrain --set` takes them.
        captions_of: checkpoint whose base has learned captions; None: bases learn them.
    """

    cells: tuple[TrainedCell, ...]
    seeds: tuple[int, ...]
    learners: PeopleWorld
    trained: PeopleWorld
    new: tuple[PeopleWorld, ...]
    most_learners: int = 1000
    num_validation: int = 100
    validation_share: float = 0.04
    num_pairs: int = 8
    num_known: int = 300
    num_known_pairs: int = 16
    reference_counts: tuple[int, ...] = (0, 2, 8)
    num_steps: int = 300
    num_last_steps: int = 100
    users_a_step: int = 16
    validate_every: int = 50
    num_probes: int = 8
    pretraining: tuple[str, ...] = ()
    captions_of: str | None = None

    @property
    def rule(self) -> SplitRule:
        """How people and prompts are dealt, for every cell alike.

        Half of the prompts are learned from nobody: of them learners are asked.
        """
        return SplitRule(validation_users=self.validation_share, held_prompts=0.5, fewest_liked=2)

    def seeds_of(self, cell: TrainedCell) -> tuple[int, ...]:
        """Seeds of a cell's runs: of what is not trained one run is all runs."""
        return self.seeds[:1] if cell.trains == "nothing" else self.seeds

    def groups_of(self, cell: TrainedCell) -> tuple[str, ...]:
        """Names of the groups that a cell is asked about."""
        judged = (self.trained.name, *(world.name for world in self.new))
        return judged if cell.trains == "nothing" else (*judged, self.learners.name)

    def cell(self, name: str) -> TrainedCell:
        """The cell of a name.

        Raises:
            ValueError: if there is none.
        """
        for each in self.cells:
            if each.name == name:
                return each
        raise ValueError(f"a cell must be one of {', '.join(c.name for c in self.cells)}: {name}")

    def recipe(self, cell: TrainedCell, seed: int, changes: tuple[str, ...] = ()) -> Recipe:
        """The recipe of one run: that of the shipped checkpoint, with the cell's values.

        P_v have a rate that moves them, as `recsys adapt` has it.

        Args:
            cell: what is changed.
            seed: of all draws.
            changes: of every cell, as `recsys train --set` takes them.

        Raises:
            ValueError: as `override`.
        """
        first, second = self._steps(cell)
        values: dict[str, Any] = {
            **{f"split.{name}": value for name, value in asdict(self.rule).items()},
            "scorer.num_references": self.reference_counts[-1],
            "scorer.num_preference_tokens": cell.num_tokens,
            "contrastive_weight": float(cell.contrastive),
            "fewer_references": FEWER_REFERENCES,
            "token_start": "uniform",  # bases have none to begin with
            "signature.num_probes": self.num_probes,
            "signature.probes_a_step": self.num_probes,
            "signature.num_orders": 1,
            "signature.most_users": 64,
            "first.plan.learning_rate": 2e-3,
            "second.plan.learning_rate": 3e-2,
        }
        for stage, steps in (("first", first), ("second", second)):
            values |= {
                f"{stage}.num_users": self.users_a_step,
                f"{stage}.plan.num_parts": 1,
                f"{stage}.plan.num_steps": steps,
                f"{stage}.plan.num_warmup_steps": min(30, steps // 5),
                f"{stage}.plan.validate_every": self.validate_every,
                f"{stage}.plan.token_learning_rate": 3e-2,
                f"{stage}.plan.seed": 2 * seed + (stage == "second"),
            }
        own = [f"{name}={json.dumps(value)}" for name, value in values.items()]
        return override(RECIPES["tiny"].build(), [*own, *changes])

    def _steps(self, cell: TrainedCell) -> tuple[int, int]:
        """Steps of either stage."""
        if cell.trains == "nothing":
            return 0, 0
        if cell.trains == "tokens":
            return 0, self.num_steps
        return self.num_steps, self.num_last_steps if cell.num_tokens else 0

    def identity(self, cell: TrainedCell, seed: int, changes: tuple[str, ...] = ()) -> str:
        """SHA-256 of all that decides a cell's result, beside its base."""
        people = {name: value for name, value in asdict(self).items() if name != "cells"}
        values = [asdict(cell), seed, people, self.recipe(cell, seed, changes).to_json()]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


PEOPLE = (20, 40, 100)
"""Learners beside the centre's 1,000."""

DESIGN = Design(
    cells=(
        TrainedCell("centre"),
        TrainedCell("base-uncontrasted", base=UNCONTRASTED),
        TrainedCell("all-uncontrasted", base=UNCONTRASTED, contrastive=False),
        TrainedCell("lora", num_tokens=0),
        TrainedCell("pv", trains="tokens"),
        TrainedCell("tokens-5", num_tokens=5),
        TrainedCell("tokens-20", num_tokens=20),
        *(TrainedCell(f"centre-{n}", num_people=n) for n in PEOPLE),
        TrainedCell("lora-40", num_tokens=0, num_people=40),
        TrainedCell("pv-40", trains="tokens", num_people=40),
        TrainedCell("frozen", trains="nothing", num_tokens=0),
    ),
    seeds=(1, 2, 3),
    learners=PeopleWorld("learners", 7407, 0, 3200, num_choices=48, num_prompts=1500),
    trained=PeopleWorld("trained", 7401, 0, 600, num_prompts=600),
    new=tuple(PeopleWorld(f"new-{n}", 7301 + n, n, 400, num_prompts=400) for n in range(101, 106)),
    num_steps=240,
    num_last_steps=80,
    validate_every=40,
    pretraining=(
        NO_PLACES,
        "shape.layers=3",
        "num_references=8",
        "captions.num_steps=4000",
        "interleaved.num_steps=1500",
    ),
)
"""People who are judged come from seeds 7401 to 7406, on which no choice was made.

People share fewer images than as many would by default: each run reads them all, the learners'
twice. The bases have three layers, read as many references as are asked about, and are pretrained
for a third of the time of the shipped one's: so 37 runs take an afternoon.
"""

TOY = Design(
    cells=(
        TrainedCell("centre", num_people=6),
        TrainedCell("lora", num_tokens=0, num_people=6),
        TrainedCell("frozen", trains="nothing", num_tokens=0, num_people=6),
    ),
    seeds=(1, 2),
    learners=PeopleWorld("learners", 7390, 0, 24, num_choices=16, num_prompts=24),
    trained=PeopleWorld("trained", 7391, 0, 6, num_choices=8, num_prompts=8),
    new=tuple(
        PeopleWorld(f"new-{n}", 7291 + n, n, 4, num_choices=8, num_prompts=8) for n in (101, 102)
    ),
    most_learners=8,
    num_validation=4,
    validation_share=0.25,
    num_pairs=4,
    num_known=4,
    num_known_pairs=4,
    reference_counts=(0, 2),
    num_steps=3,
    num_last_steps=2,
    num_probes=2,
    pretraining=(
        NO_PLACES,
        "num_prompts=20",
        "images_per_prompt=2",
        "interleaved.num_steps=2",
        "rules.num_sets=20",
        "rules.num_tastes=200",
        "interleaved_pairs=8",
        "num_references=2",
        "few_references=2",
        "num_pairs=2",
    ),
    captions_of="tiny",
)
"""The whole road in a minute; its figures say nothing."""
