"""What an adaptation leaves: a checkpoint that shares files with its parent, and its figures."""

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from recsys.counts import counted
from recsys.scorer.checkpoint import save_adapted
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.trained_on import TrainedOn, write_trained_on
from recsys.signatures.files import (
    has_signature,
    load_signature_readers,
    stored_probes,
    write_signature,
)
from training.data.encoding import Encoded
from training.evaluation.four_ways import FourWays
from training.evaluation.section import Grid, markdown
from training.fitting.adapting.dealing import Dealt
from training.fitting.adapting.privacy import Mechanism
from training.fitting.adapting.tuning import Tuning
from training.fitting.assembly import inference
from training.fitting.recipes.recipe import SignatureRecipe
from training.fitting.signatures import FEWEST_USERS, check_enough, draw_halves, fit_signatures

FILE = "adapted.json"
_SPLIT_SEED = 0


@dataclass(frozen=True)
class Adapted:
    """What came of an adaptation.

    Attributes:
        folder: of the checkpoint, whether it is written or not.
        parent: name of the folder of the checkpoint that was adapted.
        parent_version: its model version.
        tuning: how P_v were trained.
        num_people: of each part.
        comparison: the adapted checkpoint against its parent, on people held out.
        num_lenders: people whom both blends borrow from; 0 where nothing is blended in.
        seconds: that reading, encoding, training and judging took, in this call.
        is_certain: whether the parent told whom it learned from.
        mechanism: that clips each person's gradient, and adds noise if it is private; None: none.
        num_left_out: people whom the parent knows, and who therefore had no part in this.
        model_version: of what was written; empty where it was not.
    """

    folder: Path
    parent: str
    parent_version: str
    tuning: Tuning
    num_people: Mapping[str, int]
    comparison: FourWays
    num_lenders: int
    seconds: float
    is_certain: bool
    mechanism: Mechanism | None = None
    num_left_out: int = 0
    model_version: str = ""

    @property
    def is_written(self) -> bool:
        """Whether the checkpoint stands."""
        return bool(self.model_version)

    def lasting(self) -> dict[str, Any]:
        """What adapted.json has: the same whenever the same is run."""
        return {
            "parent": {"checkpoint": self.parent, "model_version": self.parent_version},
            "tuning": asdict(self.tuning),
            "num_people": dict(self.num_people),
            "is_certain": self.is_certain,
            "num_lenders": self.num_lenders,
            **self.comparison.to_json(),
            "privacy": None if self.private is None else self._promised(self.private),
        }

    @property
    def private(self) -> Mechanism | None:
        """The mechanism, if it promises anything."""
        return self.mechanism if self.mechanism is not None and self.mechanism.is_private else None

    def _promised(self, mechanism: Mechanism) -> dict[str, Any]:
        return {**asdict(mechanism), "num_left_out": self.num_left_out}

    def to_json(self) -> dict[str, Any]:
        """The same, with what is of this call."""
        written = {"folder": str(self.folder) if self.is_written else None}
        version = {"model_version": self.model_version or None}
        return {**written, **version, "seconds": round(self.seconds, 1), **self.lasting()}


def check_signature(parent: Path, dealt: Dealt, *, num_references: int) -> None:
    """Refuse before training what would be refused when signatures are fitted.

    Raises:
        ValueError: if too few people who are learned from have two halves.
    """
    if not has_signature(parent):
        return
    first, _ = draw_halves(
        dealt.learned,
        num_references=num_references,
        most_users=FEWEST_USERS,
        seed=_SPLIT_SEED,
    )
    check_enough(len(first))


def write_adapted(
    adapted: Adapted,
    scorer: PreferenceScorer,
    *,
    parent: Path,
    dealt: Dealt,
    encoded: Encoded,
    learned: TrainedOn,
    console: Console,
) -> None:
    """Write the checkpoint, whole or not at all; the scorer has its model version afterwards.

    Args:
        adapted: what it is; its folder is not there yet.
        scorer: with the tokens that were trained.
        parent: folder of the checkpoint that was adapted.
        dealt: whom signatures are fitted on.
        encoded: their image tokens.
        learned: whom it and its parent learned from.
        console: where progress is shown.
    """
    signature = _signature(adapted, scorer, parent, dealt, encoded, console)

    def write_more(folder: Path) -> None:
        signature(folder)
        write_trained_on(learned, folder)
        (folder / FILE).write_text(json.dumps(adapted.lasting(), indent=1) + "\n")

    save_adapted(scorer, adapted.folder, parent=parent, card=card(adapted), write_more=write_more)


def _signature(
    adapted: Adapted,
    scorer: PreferenceScorer,
    parent: Path,
    dealt: Dealt,
    encoded: Encoded,
    console: Console,
) -> Callable[[Path], None]:
    """Fit projections to what the parent's probes show now; what is returned writes both.

    With a mechanism the parent's own remain: to fit them would tell of people.
    """
    if not has_signature(parent):
        return lambda folder: None
    readers = load_signature_readers(parent, scorer)
    served = readers.by_readout[readers.served]
    probes = stored_probes(parent)
    recipe = SignatureRecipe(
        num_probes=len(probes), dimension=served.dimension, num_orders=served.num_orders
    )
    if adapted.mechanism is not None:
        projections = {name: each.projection for name, each in readers.by_readout.items()}
    else:
        with inference(scorer):
            projections = fit_signatures(
                scorer,
                dealt.learned,
                encoded.rows,
                served.probes,
                recipe,
                seed=_SPLIT_SEED,
                console=console,
            )
    return partial(
        write_signature,
        probes=probes,
        projections=projections,
        num_orders=recipe.num_orders,
        served=readers.served if readers.served in projections else None,
    )


def card(adapted: Adapted) -> str:
    """The text of MODEL_CARD.md."""
    tables = "\n\n".join(map(_table, adapted.comparison.grids()))
    people, tuning = adapted.num_people, adapted.tuning
    has_mechanism = adapted.mechanism is not None
    signatures = "" if has_mechanism else ", and the projections of its signatures fitted anew"
    chosen = (
        "the last weights, and the temperature of the parent"
        if has_mechanism
        else f"the best weights and the temperature were chosen by\n  {people['validation']} others"
    )
    return f"""# A preference scorer adapted to its users

Its preference tokens were trained further{signatures}; all
else is that of the checkpoint `{adapted.parent}`.

- Parent: model version `{adapted.parent_version}`
- Learned from {people["learned"]} people in {tuning.num_steps} steps at a rate of
  {tuning.learning_rate:g}, seed {tuning.seed}; {chosen}
- Compared on {people["comparison"]} people who had no part in that: top-1 of the same pairs

{tables}

{chr(10).join(f"- {sentence}" for sentence in adapted.comparison.verdict())}
{_clipped(adapted)}"""


def _clipped(adapted: Adapted) -> str:
    """What the mechanism proves, or that it proves nothing; nothing where there is none."""
    if adapted.mechanism is None:
        return ""
    if adapted.private is None:
        return """
Each person's gradient was clipped, and no noise was added: a run to measure what noise costs. It
promises nothing to anybody.
"""
    return _privacy(adapted.private, adapted)


def _privacy(mechanism: Mechanism, adapted: Adapted) -> str:
    """What is proven, what it took, and what it is not about."""
    known = (
        f"{counted(adapted.num_left_out, 'person', 'people')} whom the parent knows had no part in"
        " this: to them it promises what it may"
        if adapted.is_certain
        else "Whom the parent learned from, it does not tell; to them it promises what it may"
    )
    return f"""
## Differential privacy

The preference tokens are ({mechanism.epsilon:.3g}, {mechanism.delta:.3g})-differentially private
for each of the {mechanism.num_people} people who were learned from. Neighbours are stores with
{mechanism.neighbours}.

- Noise multiplier {mechanism.noise_multiplier:.4g} at a clipping norm of {mechanism.clip:g},
  sampling rate {mechanism.sampling_rate:.4g}, {mechanism.num_steps} steps; epsilon by the PRV
  accountant of Opacus; the noise is of floating-point numbers
- Nothing else in this checkpoint was computed from their choices, but for their number, which
  counts as public, and `trained_on.json`, the record of whom it learned from: leave that file out
  of what you hand on
- The {adapted.num_people["comparison"]} people of the comparison are others. They are not covered:
  the figures above, and the decision to write, are computed from their choices without noise
- {known}
- Each further checkpoint that is published, or among which one is chosen, adds its own epsilon
"""


def _table(grid: Grid) -> str:
    table = markdown(grid.heads, grid.rows)
    return f"{grid.caption}\n\n{table}" if grid.caption else table
