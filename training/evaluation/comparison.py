"""Two scorers on the same questions behind fewer and more references, paired by person."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from recsys.scorer.model import PreferenceScorer
from training.data.features import Features
from training.evaluation.answers import Margins, difference, margins, pair_scores, top1
from training.evaluation.metrics import Figure, accuracy, over_users
from training.evaluation.questions import REFERENCE_COUNTS, Samples, with_references
from training.evaluation.section import Grid, percent, points, with_interval
from training.predictors.scorer import ScorerPredictor, batch_size

ByCount = Mapping[int, Margins]
"""By number of references: a scorer's margins on the same pairs."""


@dataclass(frozen=True)
class Gain:
    """Top-1 behind one number of references.

    Attributes:
        before, after: of either scorer.
        gained: after less before, paired by person.
    """

    before: Figure
    after: Figure
    gained: Figure


@dataclass(frozen=True)
class Comparison:
    """One scorer against another.

    Attributes:
        by_references: by number of references.
        mean: the mean over those numbers of what each person gained.
    """

    by_references: Mapping[int, Gain]
    mean: Figure

    @property
    def is_better(self) -> bool:
        """Whether the mean gain is above zero with its interval."""
        return self.mean.low > 0

    def grid(self, *, before: str = "before", after: str = "after") -> Grid:
        """All of it as a table, either scorer under its heading."""
        rows = [
            (str(count), percent(each.before.value), percent(each.after.value), _gain(each.gained))
            for count, each in self.by_references.items()
        ]
        heads = ("references", before, after, "gained, points (95 % interval)")
        return Grid(heads, [*rows, ("mean", "", "", _gain(self.mean))])


def answers_by_references(
    scorer: PreferenceScorer,
    features: Features,
    samples: Samples,
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[int, Margins]:
    """What a scorer says of each person's pairs behind 0, 1, 2... of the newest references.

    Args:
        scorer: in evaluation.
        features: image tokens of the rows that the samples show.
        samples: of at least one person, behind all references.
        progress: called with each number of references before it is asked.
    """
    most = max(len(sample.references) for sample in samples.values())
    predictor = ScorerPredictor(scorer, features, batch_users=batch_size(scorer))
    answers: dict[int, Margins] = {}
    for count in (each for each in REFERENCE_COUNTS if each <= most):
        progress(count)
        answers[count] = margins(pair_scores(predictor, with_references(samples, count)))
    return answers


def mean_top1(answers: ByCount) -> float:
    """Top-1 in [0, 1], the mean over numbers of references."""
    return float(np.mean([top1(each).value for each in answers.values()]))


def compare(before: ByCount, after: ByCount) -> Comparison:
    """Pair the answers of two scorers by person.

    Args:
        before, after: to the same questions.
    """
    gains = {
        count: Gain(top1(own), top1(after[count]), difference(after[count], own))
        for count, own in before.items()
    }
    users = list(next(iter(before.values())))
    means = [
        float(np.mean([accuracy(after[n][user]) - accuracy(before[n][user]) for n in before]))
        for user in users
    ]
    n_pairs = sum(each.gained.n_pairs for each in gains.values())
    return Comparison(gains, over_users(means, n_pairs=n_pairs))


def _gain(figure: Figure) -> str:
    return with_interval(figure, points)
