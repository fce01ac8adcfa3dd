"""What borrowing is worth to people who have made few choices, beside the best that is possible.

Neighbours are everybody who is not judged; those judged are people whom neither the model nor the
classes have learned from. With a world's truth, the best possible behind the same references (the
posterior given them and the population) stands beside: no method can pass it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from recsys.coldstart.borrowing import BorrowingScorer
from recsys.coldstart.data import MAX_PAIRS
from recsys.coldstart.fit import fit_cold_start
from recsys.coldstart.population import ColdStart
from recsys.history import select
from recsys.scorer.model import PreferenceScorer
from training.data.features import Features
from training.data.samples import Pair, PairTable
from training.evaluation.bounds import gap_closed, of_this_world, world_accuracies
from training.evaluation.metrics import Figure, accuracy, over_users
from training.evaluation.onboarding_judge import judge_onboarding
from training.evaluation.questions import Samples, with_references
from training.world.truth import WorldTruth

COUNTS = (0, 1, 2, 4, 8)
MOST_NEIGHBOURS = 2000
MOST_JUDGED = 400

Rights = dict[str, dict[str, float]]
"""Share of each user's pairs told right, by way and user."""


def judge_cold_start(
    scorer: PreferenceScorer,
    histories: PairTable,
    features: Features,
    samples: Samples,
    *,
    truth: WorldTruth | None,
    seed: int,
    tell: Callable[[str], None] = lambda what: None,
) -> dict[str, Any] | None:
    """Judge the model alone, the classes alone and their blend behind 0 to 8 own references.

    Args:
        scorer: frozen.
        histories: of everybody.
        features: image tokens by row.
        samples: of people whom the model has not learned from; at most `MOST_JUDGED` are judged.
        truth: of a world, for the best possible.
        seed: decides who lends and who is kept apart.
        tell: called with what is being done.

    Returns:
        Figures by number of own references; None where too few people are left to borrow from.
    """
    judged = dict(list(samples.items())[:MOST_JUDGED])
    lenders = _lenders(histories, judged, seed=seed)
    if len(judged) < 2 or len(lenders) < 4:
        return None
    cold_start, report = fit_cold_start(
        scorer, lenders, features, seed=seed, tell=lambda what: tell(f"cold start: {what}")
    )
    known = truth is not None and of_this_world(judged, histories, truth)
    found: dict[str, Any] = {}
    for count in (each for each in COUNTS if each <= scorer.config.num_references):
        tell(f"cold start: {count} own references")
        fewer = with_references(judged, count)
        rights = _rights(scorer, cold_start, features, fewer)
        if known and truth is not None:
            best = world_accuracies(fewer, histories, truth, seed=seed)
            rights["best_possible"] = dict(best["best_possible"])
        found[str(count)] = _figures(rights, fewer)
    first_questions = None
    if known and truth is not None:
        tell("cold start: first questions")
        first_questions = judge_onboarding(
            cold_start,
            lenders,
            judged,
            histories=histories,
            features=features,
            truth=truth,
            seed=seed,
        )
    return {
        "num_lenders": report.num_users,
        "num_lent_pairs": report.num_pairs,
        "num_classes": report.num_classes,
        "by_references": found,
        "blends": cold_start.blends.tolist(),
        "onboarding": first_questions,
    }


def _lenders(histories: PairTable, judged: Samples, *, seed: int) -> list[tuple[Pair, ...]]:
    """What `recsys coldstart fit` would read of everybody else."""
    others = [user for user, pairs in histories.pairs.items() if pairs and user not in judged]
    order = np.random.default_rng([seed, 42]).permutation(len(others))[:MOST_NEIGHBOURS]
    return [select(histories.pairs[others[index]], MAX_PAIRS) for index in order]


def _rights(
    scorer: PreferenceScorer, cold_start: ColdStart, features: Features, samples: Samples
) -> Rights:
    """What the served blend, and either of what it blends, gets right of each user's pairs."""
    borrowing = BorrowingScorer(scorer, cold_start)
    rights: Rights = {"alone": {}, "classes": {}, "borrowing": {}}
    for user, sample in samples.items():
        read = [row for pair in sample.references for row in (pair.liked, pair.disliked)]
        asked = [row for pair in sample.pairs for row in (pair.liked, pair.disliked)]
        prefix = borrowing.prefix_of([pair.prompt for pair in sample.references], features(read))
        prompts = [pair.prompt for pair in sample.pairs for _ in range(2)]
        tokens = features(asked)
        logits = {
            "alone": scorer.margins_of(prefix.own, prompts, tokens).numpy(),
            "classes": cold_start.features(tokens) @ prefix.taste,
            "borrowing": borrowing.logits_of(prefix, prompts, tokens),
        }
        for name, values in logits.items():
            rights[name][user] = accuracy(values[0::2] - values[1::2])
    return rights


def _figures(rights: Rights, samples: Samples) -> dict[str, Figure]:
    """Each way's figure, what borrowing gains, and the share of what is possible that it gains."""
    users = list(samples)
    n_pairs = sum(len(sample.pairs) for sample in samples.values())
    columns = {name: [values[user] for user in users] for name, values in rights.items()}
    figures = {name: over_users(values, n_pairs=n_pairs) for name, values in columns.items()}
    gain = np.subtract(columns["borrowing"], columns["alone"])
    figures["gain"] = over_users(gain.tolist(), n_pairs=n_pairs)
    if "best_possible" in columns:
        closed = gap_closed(columns["borrowing"], columns["alone"], columns["best_possible"])
        distance = over_users(
            np.subtract(columns["best_possible"], columns["alone"]).tolist(), n_pairs=n_pairs
        )
        if distance.low > 0:  # else there may be none to close
            figures["closed"] = closed
    return figures
