"""How people in storage are learned from: what a step draws, and whose choices stop it early."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import nn

from recsys.scorer.model import PreferenceScorer
from training.data.batches import Batches, Draws, batches
from training.data.encoding import Encoded
from training.data.samples import PairTable
from training.evaluation.comparison import answers_by_references, mean_top1
from training.evaluation.questions import Samples
from training.fitting.assembly import inference, train_only
from training.fitting.objective import PreferenceOf, step_loss
from training.fitting.plan import Plan
from training.fitting.precision import needs_loss_scaling
from training.fitting.trainer import Run, fit

NUM_USERS, NUM_PAIRS = 12, 8
"""People of a step, and pairs to be told apart of each."""


def step_draws(
    table: PairTable, *, num_references: int, seed: int, num_users: int = NUM_USERS
) -> Batches:
    """Draw people behind none to all references, each number as often.

    Args:
        table: what is learned from.
        num_references: that the scorer reads at most.
        seed: decides.
        num_users: people of a step.

    Raises:
        ValueError: if no user has two pairs that share no image.
    """
    return batches(
        table,
        num_users=num_users,
        num_pairs=NUM_PAIRS,
        num_references=num_references,
        fewer_references=num_references / (num_references + 1),  # of all, so each is drawn as often
        seed=seed,
    )


def learn(
    scorer: PreferenceScorer,
    parameters: Mapping[str, nn.Parameter],
    *,
    drawn: Draws,
    encoded: Encoded,
    asked: Samples,
    plan: Plan,
    run: Run,
    preference: PreferenceOf | None = None,
) -> None:
    """Minimise L_all (Eq. 5) over some parameters; those that answer best of all remain.

    The best are those with the highest `mean_top1`: each person counts the same, however many
    references they have. The scorer is frozen again afterwards, and in evaluation.

    Args:
        scorer: all of it but the parameters is frozen.
        parameters: of the scorer, by a name that stays the same from run to run.
        drawn: samples of those who are learned from.
        encoded: image tokens of all samples.
        asked: of others, whenever the plan validates.
        plan: steps and rates.
        run: where the run is kept.
        preference: preference tokens of each sample's user in training; None: the scorer's own.

    Raises:
        LossNotFinite, RunNotSaved, ValueError: as `fit`.
    """
    train_only(scorer, dict(parameters))
    scorer.train()
    fit(
        step_loss(scorer, drawn, encoded, preference=preference),
        parameters,
        plan,
        run=replace(run, validate=partial(_validated, scorer, encoded, asked)),
        scales_loss=needs_loss_scaling(scorer),
    )
    train_only(scorer, {})
    scorer.eval()


def _validated(scorer: PreferenceScorer, encoded: Encoded, asked: Samples) -> float:
    with inference(scorer):
        return mean_top1(answers_by_references(scorer, encoded.rows, asked))
