"""Questions put to a scorer and to its baselines, block by block: the paper's tables and controls.

Nothing here trains: whoever is asked about was either never learned from (unseen), or is asked
only about choices newer than any that was learned from (seen).
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit

from training.evaluation.answers import (
    Margins,
    difference,
    margins,
    opposed_accuracy,
    pair_scores,
    top1,
    top_of_four,
    unpaired_difference,
)
from training.evaluation.asked import Asked
from training.evaluation.bounds import best_by_references, of_this_world, world_figures
from training.evaluation.calibration import calibrate
from training.evaluation.metrics import Figure, accuracy, over_users
from training.evaluation.predictors import Predictor
from training.evaluation.questions import (
    Samples,
    behind_strangers,
    swapped,
    with_references,
    without_prompts,
)
from training.evaluation.scorer_predictor import Averaged, ScorerPredictor
from training.world.truth import WorldTruth

REFERENCE_COUNTS = (0, 1, 2, 4, 8)
NUM_ORDERS = 5

Block = dict[str, Any]


@dataclass
class Judge:
    """One evaluation: what is asked, who answers, and what to tell of.

    Attributes:
        asked: the questions.
        ours: the judged scorer.
        seed: of every bootstrap and control.
        tell: called with what is being measured, as work goes on.
    """

    asked: Asked
    ours: ScorerPredictor
    seed: int = 0
    tell: Callable[[str], None] = lambda what: None
    _own: dict[str, Margins] = field(default_factory=dict)

    def unseen(self) -> Block:
        """One against one, one against three, opposed pairs and the controls, on unseen users."""
        samples = self.asked.unseen
        own = self.own_margins("unseen")
        found: Block = {"top1": top1(own)}
        controls: dict[str, Samples] = {
            "shuffled_history": behind_strangers(samples, seed=self.seed),
            "swapped_labels": swapped(samples),
            "no_prompt": without_prompts(samples),
        }
        if self.asked.random:
            controls["random_references"] = self.asked.random
        for name, control in controls.items():
            self.tell(name.replace("_", " "))
            answers = margins(pair_scores(self.ours, control))
            found[name] = top1(answers)
            if name == "shuffled_history":
                found["personal"] = difference(own, answers)
        self.tell("one of four")
        if self.asked.of_four:
            found["of_four"] = top_of_four(self.ours, self.asked.of_four)
        if self.asked.opposed:
            found["opposed"] = self.opposed(self.ours)
        return found

    def seen(self) -> Block:
        """Users learned from, on choices that were not."""
        return {"top1": top1(self.own_margins("seen"))} if self.asked.seen else {}

    def seen_minus_unseen(self) -> Figure | None:
        """What having learned from a user is worth beyond reading the history."""
        if not self.asked.seen or not self.asked.unseen:
            return None
        return unpaired_difference(
            self.own_margins("seen"), self.own_margins("unseen"), seed=self.seed
        )

    def by_references(self, counts: Sequence[int]) -> dict[str, Figure]:
        """Top-1 behind the first 0, 1, 2... references (paper, Fig. 5)."""
        found = {}
        for count in counts:
            self.tell(f"{count} references")
            fewer = with_references(self.asked.unseen, count)
            found[str(count)] = top1(margins(pair_scores(self.ours, fewer)))
        return found

    def order(self) -> Block:
        """How far scores move when the references are reordered, and what averaging gains."""
        self.tell("re-orderings")
        averaged = Averaged(self.ours, num_orders=NUM_ORDERS, seed=self.seed)
        spreads, answers = [], {}
        for user, sample in self.asked.unseen.items():
            logits = averaged.of_pairs(user, sample)  # (orders, 2 N)
            spreads.append(float(expit(logits).std(axis=0).mean()))
            mean = logits.mean(axis=0).reshape(-1, 2)
            answers[user] = mean[:, 0] - mean[:, 1]
        n_pairs = sum(each.size for each in answers.values())
        return {
            "spread": over_users(spreads, n_pairs=n_pairs),
            "averaged_gain": difference(answers, self.own_margins("unseen")),
            "num_orders": NUM_ORDERS,
        }

    def against(self, other: Predictor) -> Block:
        """Another predictor on the same questions, and ours less its top-1, paired by user."""
        self.tell(other.name.replace("_", " "))
        theirs = margins(pair_scores(other, self.asked.unseen))
        found: Block = {
            "top1": top1(theirs),
            "ours_minus": difference(self.own_margins("unseen"), theirs),
        }
        if self.asked.opposed:
            found["opposed"] = self.opposed(other)
        return found

    def opposed(self, predictor: Predictor) -> Figure:
        """Pairs on which two users disagree."""
        sides = self.asked.opposed_sides
        answers = margins(pair_scores(predictor, sides))
        return opposed_accuracy(self.asked.opposed, sides, answers, seed=self.seed)

    def world(self, truth: WorldTruth) -> Block:
        """A synthetic world's bounds on the same pairs."""
        self.tell("the world's bounds")
        asked = self.asked
        own = {user: accuracy(each) for user, each in self.own_margins("unseen").items()}
        figures: Block = dict(
            world_figures(own, asked.unseen, asked.histories, truth, seed=self.seed)
        )
        figures["by_references"] = best_by_references(
            asked.unseen, asked.histories, truth, REFERENCE_COUNTS, seed=self.seed
        )
        return figures

    def calibration(self, temperature: float) -> Block:
        """Is an image with Q = 70 % liked in 70 % of cases?  Reliability and ECE."""
        rows = np.concatenate(list(self._scores("unseen").values()))
        return asdict(calibrate(rows[:, 0], rows[:, 1], temperature=temperature))

    def own_margins(self, part: str) -> Margins:
        """Our margins of a part ("seen" or "unseen"), asked once."""
        return margins(self._scores(part))

    def _scores(self, part: str) -> Mapping[str, Any]:
        if part not in self._own:
            self.tell(f"{part} users")
            self._own[part] = pair_scores(self.ours, getattr(self.asked, part))
        return self._own[part]


def judge_all(
    judge: Judge,
    *,
    baselines: Iterable[Predictor] = (),
    variants: Iterable[Predictor] = (),
    truth: WorldTruth | None = None,
    temperature: float = 1.0,
) -> Block:
    """Every block of the report that the data allow.

    Args:
        judge: questions and scorer.
        baselines: others to be compared with, taken and let go one by one.
        variants: scorers trained otherwise, for the ablations.
        truth: of a synthetic world; used where it knows all users asked.
        temperature: the checkpoint's, for calibration.
    """
    asked = judge.asked
    found: Block = {"unseen": {}, "notes": list(_notes(asked))}
    if asked.unseen:
        most = max(len(sample.references) for sample in asked.unseen.values())
        found["unseen"] = judge.unseen()
        found["by_references"] = judge.by_references([n for n in REFERENCE_COUNTS if n <= most])
        found["order"] = judge.order()
        found["calibration"] = judge.calibration(temperature)
        found["baselines"] = {each.name: judge.against(each) for each in baselines}
        found["ablations"] = [_ablation(judge, each) for each in variants]
        if truth is not None and of_this_world(asked.unseen, asked.histories, truth):
            found["world"] = judge.world(truth)
    if asked.seen:
        found["seen"] = judge.seen()
        found["seen_minus_unseen"] = judge.seen_minus_unseen()
    return found


def _ablation(judge: Judge, variant: Predictor) -> Block:
    block = judge.against(variant)
    ours = block.pop("ours_minus")
    # Its difference to us, not ours to it: the sign that an ablation table shows.
    turned = Figure(-ours.value, -ours.high, -ours.low, ours.n_users, ours.n_pairs)
    return {"name": variant.name, **block, "minus_full": turned}


def _notes(asked: Asked) -> Iterator[str]:
    if not asked.is_certain:
        yield (
            "The checkpoint does not say whom it learned from: everybody is counted as unseen, "
            "which flatters it if some were learned from."
        )
    if asked.num_overlapping:
        yield (
            f"{asked.num_overlapping} pairs were not asked, because an image of theirs was "
            "learned from or validated on."
        )
