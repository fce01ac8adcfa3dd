"""What those who are judged borrow from everybody else, asked as it is served.

Axes: N pairs.
"""

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from recsys.coldstart.borrowing import BorrowingScorer
from recsys.coldstart.limits import MAX_PAIRS, MAX_USERS
from recsys.coldstart.population import ColdStart
from recsys.history import Pair, select
from recsys.scorer.model import PreferenceScorer
from training.data.features import Features
from training.data.samples import PairTable
from training.evaluation.questions import Samples


@dataclass(frozen=True, eq=False)
class WaysToScore:
    """Margins of the same pairs: liked less disliked, by user.

    Attributes:
        alone: of the model.
        classes: of others' taste.
        blend: of both, as served.
    """

    alone: dict[str, np.ndarray]
    classes: dict[str, np.ndarray]
    blend: dict[str, np.ndarray]


def lenders(table: PairTable, judged: Container[str], *, seed: int) -> dict[str, tuple[Pair, ...]]:
    """By user, of each of the others the pairs that `recsys coldstart fit` would read of them.

    Where they are more than `MAX_USERS`, the judgement's seed draws them; `fit`, which reads
    storage page by page, draws others by a seed of its own.
    """
    others = [user for user, pairs in table.pairs.items() if pairs and user not in judged]
    order = np.random.default_rng([seed, 42]).permutation(len(others))[:MAX_USERS]
    return {others[at]: select(table.pairs[others[at]], MAX_PAIRS) for at in order}


def score_in_each_way(
    scorer: PreferenceScorer, cold_start: ColdStart, features: Features, samples: Samples
) -> WaysToScore:
    """Ask the model, the classes and the blend that is served about each user's pairs.

    Args:
        scorer: frozen.
        cold_start: learned for it, from others.
        features: image tokens of the rows that the samples show.
        samples: behind the references that are read.
    """
    borrowing = BorrowingScorer(scorer, cold_start)
    ways = WaysToScore({}, {}, {})
    for user, sample in samples.items():
        read = [row for pair in sample.references for row in (pair.liked, pair.disliked)]
        asked = [row for pair in sample.pairs for row in (pair.liked, pair.disliked)]
        prefix = borrowing.prefix_of([pair.prompt for pair in sample.references], features(read))
        prompts = [pair.prompt for pair in sample.pairs for _ in range(2)]
        tokens = features(asked)
        for margins, logits in (
            (ways.alone, scorer.margins_of(prefix.own, prompts, tokens).numpy()),
            (ways.classes, borrowing.taste_logits_of(prefix, tokens)),
            (ways.blend, borrowing.logits_of(prefix, prompts, tokens)),
        ):
            margins[user] = logits[0::2] - logits[1::2]
    return ways
