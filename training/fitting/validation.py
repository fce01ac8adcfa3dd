"""Validation during a run: the users asked, the figure that picks the best weights, calibration."""

from collections.abc import Callable, Set
from dataclasses import replace

import numpy as np

from recsys.counts import counted
from recsys.scorer.model import PreferenceScorer
from training.data.batches import without_rows
from training.data.encoding import Encoder
from training.data.splits import Split
from training.evaluation.answers import margins, pair_scores, top1
from training.evaluation.calibration import fit_temperature
from training.evaluation.questions import REFERENCE_COUNTS, Samples, newest_samples
from training.fitting.assembly import inference
from training.fitting.recipes.recipe import Recipe
from training.predictors.scorer import ScorerPredictor

MOST_USERS = 200
"""Validation users asked each time, at most."""

NUM_PAIRS = 8
"""Pairs that each of them is asked about, at most."""

FEW_USERS = 10
"""Of fewer, the best weights and the temperature are left much to chance."""


def draw_validation(recipe: Recipe, parts: Split, unreadable: Set[int]) -> Samples:
    """What the best weights are chosen by: users and images that nothing is learned from.

    Users who have fewer references than the scorer reads are asked behind the last of
    `REFERENCE_COUNTS`.

    Args:
        recipe: number of references and seed of the split.
        parts: of the run.
        unreadable: rows of images that cannot be read; pairs that show one are left out.
    """
    samples = newest_samples(
        without_rows(parts.whole, set(unreadable)),
        dict(without_rows(parts.validation, set(unreadable)).pairs),
        seed=recipe.split.seed,
        num_references=recipe.scorer.num_references,
        num_pairs=NUM_PAIRS,
        fewest_references=REFERENCE_COUNTS[-1],
    )
    return dict(list(samples.items())[:MOST_USERS])


def caution(recipe: Recipe, asked: Samples) -> str | None:
    """What to beware of where few or none validate; None where enough do, or nobody is to.

    Args:
        recipe: number of references, and the share of users who are to validate.
        asked: as `draw_validation`.
    """
    if len(asked) >= FEW_USERS or not recipe.split.validation_users:
        return None
    needed = min(recipe.scorer.num_references, REFERENCE_COUNTS[-1])
    lost = (
        "the best weights and the temperature are left much to chance"
        if asked
        else "the last weights are kept and no temperature is fitted"
    )
    return (
        f"{counted(len(asked), 'user')} can validate, so {lost}: whoever is held out must have"
        f" {needed} references before the pairs that are asked (import more choices, or raise"
        " split.validation_users)"
    )


def validation_top1(
    scorer: PreferenceScorer, encoder: Encoder, asked: Samples
) -> Callable[[], float]:
    """A function that returns top-1 accuracy, in [0, 1], with the weights as they then are.

    Args:
        scorer: in training.
        encoder: image tokens.
        asked: as `draw_validation`, of at least one user.
    """

    def figure() -> float:
        with inference(scorer):
            answers = margins(pair_scores(ScorerPredictor(scorer, encoder.rows), asked))
        return top1(answers).value

    return figure


def calibrate(scorer: PreferenceScorer, encoder: Encoder, asked: Samples) -> None:
    """Set the scorer's temperature to the one that fits its scores of validation pairs best.

    Args:
        scorer: trained; without validation users its temperature stays.
        encoder: image tokens.
        asked: as `draw_validation`.
    """
    if not asked:
        return
    with inference(scorer):
        scores = pair_scores(ScorerPredictor(scorer, encoder.rows), asked)
    rows = np.concatenate(list(scores.values()))
    liked = np.repeat([True, False], len(rows))
    temperature = fit_temperature(np.concatenate([rows[:, 0], rows[:, 1]]), liked)
    scorer.config = replace(scorer.config, temperature=temperature)
