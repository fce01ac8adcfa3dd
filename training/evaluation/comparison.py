"""Two scorers on the same questions behind fewer and more references, paired by person."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from recsys.scorer.model import PreferenceScorer
from training.data.features import Features
from training.evaluation.answers import Margins, difference, margins, pair_scores, top1
from training.evaluation.metrics import Figure, accuracy, decisive_over_users
from training.evaluation.questions import REFERENCE_COUNTS, Samples, with_references
from training.predictors.scorer import ScorerPredictor, batch_size

ByCount = Mapping[int, Margins]
"""By number of references: a scorer's margins on the same pairs of those who have so many."""


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
        mean: the mean over some of those numbers of what each person gained, of a person who has
            not so many references over the numbers that they have. Its interval is Student's, for
            it decides.
        over: these numbers.
    """

    by_references: Mapping[int, Gain]
    mean: Figure
    over: tuple[int, ...]


def answers_by_references(
    scorer: PreferenceScorer,
    features: Features,
    samples: Samples,
    *,
    counts: Sequence[int] | None = None,
    progress: Callable[[int], None] = lambda count: None,
) -> dict[int, Margins]:
    """What a scorer says of each person's pairs behind 0, 1, 2... of the newest references.

    Args:
        scorer: in evaluation.
        features: image tokens of the rows that the samples show.
        samples: of at least one person, behind all references.
        counts: the numbers of references; None: those of `counts_of`.
        progress: called with each number of references before it is asked.
    """
    predictor = ScorerPredictor(scorer, features, batch_users=batch_size(scorer))
    answers: dict[int, Margins] = {}
    for count in counts_of(samples) if counts is None else counts:
        progress(count)
        answers[count] = margins(pair_scores(predictor, behind(samples, count)))
    return answers


def counts_of(samples: Samples) -> list[int]:
    """The numbers of references behind which samples are asked, fewest first.

    The last is what anybody has: as many as the model reads at most.
    """
    most = max(len(sample.references) for sample in samples.values())
    return [*(each for each in REFERENCE_COUNTS if each < most), most]


def behind(samples: Samples, count: int) -> Samples:
    """The pairs of those who have so many references, behind the newest of them."""
    enough = {user: own for user, own in samples.items() if len(own.references) >= count}
    return with_references(enough, count)


def means_by_person(answers: ByCount, *, over: Sequence[int] | None = None) -> dict[str, float]:
    """Each person's top-1 in [0, 1], the mean over those numbers of references that they have.

    Args:
        answers: of a scorer.
        over: numbers of references that the mean is over; None: all. Who has none is left out.
    """
    own: dict[str, list[float]] = {}
    for count in answers if over is None else over:
        for user, margins_of_user in answers[count].items():
            own.setdefault(user, []).append(accuracy(margins_of_user))
    return {user: float(np.mean(each)) for user, each in own.items()}


def mean_top1(answers: ByCount) -> float:
    """Top-1 in [0, 1], the mean over people of `means_by_person`, as that of `compare` is."""
    return float(np.mean(list(means_by_person(answers).values())))


def compare(before: ByCount, after: ByCount, *, over: Sequence[int] | None = None) -> Comparison:
    """Pair the answers of two scorers by person.

    Args:
        before, after: to the same questions.
        over: numbers of references that the mean is over; None: all.
    """
    counts = tuple(before if over is None else over)
    gains = {
        count: Gain(top1(own), top1(after[count]), difference(after[count], own))
        for count, own in before.items()
    }
    first, second = (means_by_person(each, over=counts) for each in (before, after))
    means = [second[user] - first[user] for user in first]
    n_pairs = sum(gains[count].gained.n_pairs for count in counts)
    return Comparison(gains, decisive_over_users(means, n_pairs=n_pairs), counts)
