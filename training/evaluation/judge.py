"""What the tables of a report measure with: the questions, and who answers them.

Nothing here trains: whoever is asked about was either never learned from (unseen), or is asked
only about choices newer than any that was learned from (seen).
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import numpy.typing as npt

from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.trained_on import TrainedOn
from training.data.features import Features, OpenFeatures, ReadImage
from training.evaluation.answers import (
    AsPaper,
    Compared,
    Margins,
    answer_as_paper,
    difference,
    margins,
    opposed_accuracy,
    pair_scores,
    top1,
)
from training.evaluation.asked import Asked
from training.evaluation.bounds import of_this_world
from training.evaluation.metrics import Figure
from training.evaluation.questions import NUM_REFERENCES, Samples
from training.predictors.predictor import Predictor
from training.predictors.scorer import ScorerPredictor, batch_size
from training.world.truth import WorldTruth

T = TypeVar("T")

LoadScorer = Callable[[Path], PreferenceScorer]
"""Reads a checkpoint's scorer, frozen."""


@dataclass(eq=False)
class Judge:
    """One evaluation of a checkpoint.

    Attributes:
        asked: the questions.
        scorer: loaded from the checkpoint, frozen.
        folder: the checkpoint.
        features_of: image tokens by row of the questions' image table, as any scorer makes them.
        images: RGB image by row.
        stored: encoded image by row.
        learned: whom the checkpoint learned from, as far as it can tell.
        truth: of a synthetic world, where there is one.
        weights: folder with a folder of public weights for each baseline.
        against: other checkpoints by name, for the ablations.
        load: reads one of them.
        batch_users: users who share a scorer's pass; None: as `batch_size` decides.
        num_references: read of each half of a history, at most.
        seed: of the controls, of other random draws and of the intervals of opposed pairs; other
            intervals are always drawn with seed 0.
        progress: called with what is being measured, as work goes on.
    """

    asked: Asked
    scorer: PreferenceScorer
    folder: Path
    features_of: OpenFeatures
    images: ReadImage
    stored: Callable[[int], bytes]
    learned: TrainedOn | None = None
    truth: WorldTruth | None = None
    weights: Path | None = None
    against: Mapping[str, Path] = field(default_factory=dict)
    load: LoadScorer = load_scorer
    batch_users: int | None = None
    num_references: int = NUM_REFERENCES
    seed: int = 0
    progress: Callable[[str], None] = lambda what: None
    _once: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def features(self) -> Features:
        """Image tokens by row, as the judged scorer makes them."""
        return self.features_of(self.scorer)

    @cached_property
    def ours(self) -> ScorerPredictor:
        """The judged scorer as a predictor."""
        size = batch_size(self.scorer, self.batch_users)
        return ScorerPredictor(self.scorer, self.features, batch_users=size)

    def another(self, name: str) -> ScorerPredictor:
        """One of the checkpoints in `against` as a predictor, loaded anew."""
        scorer = self.load(self.against[name])
        size = batch_size(scorer, self.batch_users)
        return ScorerPredictor(scorer, self.features_of(scorer), name=name, batch_users=size)

    def once(self, name: str, make: Callable[[], T]) -> T:
        """What several tables need, made when the first one asks for it.

        Args:
            name: of what is made, the same for all who need it.
            make: makes it.
        """
        if name not in self._once:
            self._once[name] = make()
        return cast(T, self._once[name])

    def own_scores(self, part: str) -> Mapping[str, npt.NDArray[np.float64]]:
        """Our scores of a part of the questions, asked once.

        Args:
            part: "unseen", "seen" or "opposed_sides".

        Returns:
            By user, shape (N, 2): liked, disliked.
        """

        def ask() -> dict[str, npt.NDArray[np.float64]]:
            self.progress("opposed pairs" if part == "opposed_sides" else f"{part} users")
            return pair_scores(self.ours, getattr(self.asked, part))

        return self.once(part, ask)

    def own_margins(self, part: str) -> Margins:
        """Our margins of a part, as in `own_scores`."""
        return margins(self.own_scores(part))

    def own_opposed(self) -> Figure | None:
        """Our share of the pairs on which two users disagree; None if there are none."""
        if not self.asked.opposed:
            return None
        return self._opposed(self.own_margins("opposed_sides"))

    def compare(self, other: Predictor) -> Compared:
        """Ask another predictor the same questions, of unseen users."""
        self.progress(other.name.replace("_", " "))
        theirs = margins(pair_scores(other, self.asked.unseen))
        opposed = None
        if self.asked.opposed:
            opposed = self._opposed(margins(pair_scores(other, self.asked.opposed_sides)))
        compared = Compared(top1(theirs), difference(self.own_margins("unseen"), theirs), opposed)
        return replace(compared, as_paper=self.as_paper(other))

    def as_paper(self, predictor: Predictor) -> AsPaper | None:
        """How a predictor does by the paper's own count; None unless asked as in the paper."""
        asked = self.asked
        if not asked.follows_paper:
            return None
        of_four = {**asked.of_four, **asked.of_four_seen}
        return answer_as_paper(predictor, asked.unseen, asked.seen, of_four)

    def truth_of(self, samples: Samples) -> WorldTruth | None:
        """The world's truth, where it knows every user and image of some samples."""
        if self.truth is None or not of_this_world(samples, self.asked.table, self.truth):
            return None
        return self.truth

    def _opposed(self, answers: Margins) -> Figure:
        sides = self.asked.opposed_sides
        return opposed_accuracy(self.asked.opposed, sides, answers, seed=self.seed)
