"""One run of a cell: trained as `recsys train` trains, and asked as an evaluation asks."""

import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from recsys.images.decode import ImageLimits
from recsys.scorer.checkpoint import load_scorer, read_preference_tokens
from recsys.scorer.model import PreferenceScorer
from storage.histories import HistoryStore
from training.claims.answers import CellAnswers, GroupAnswers
from training.claims.bases import FoundBase
from training.claims.design import Design, TrainedCell
from training.claims.people import AskedGroup, learners_of, validation_of
from training.data.features import OpenTokens, features_of
from training.evaluation.answers import margins, pair_scores
from training.evaluation.metrics import accuracy
from training.evaluation.questions import with_references
from training.fitting.assembly import build_scorer
from training.fitting.recipes.recipe import Recipe
from training.fitting.stages import Training
from training.predictors.scorer import ScorerPredictor, batch_size


def train_cell(
    design: Design,
    cell: TrainedCell,
    seed: int,
    *,
    base: FoundBase,
    store: HistoryStore,
    folder: Path,
    console: Console,
    limits: ImageLimits,
    image_tokens: OpenTokens,
    changes: tuple[str, ...] = (),
) -> CellAnswers:
    """Train a cell once, resuming a run that was stopped; nothing is asked yet.

    Args:
        design, cell, seed, changes: what decides the run, as of `Design.recipe`.
        base: that it begins with.
        store: the choices of the design's people.
        folder: of the run.
        console: where progress is shown.
        limits: of each image, bytes and pixels.
        image_tokens: opens where those of a base are kept.

    Raises:
        CheckpointRefused, ValueError, LossNotFinite, RunNotSaved, TooManyBadImages: as
            `Training.run`.
    """
    recipe = design.recipe(cell, seed, changes)
    began = time.process_time()
    training = Training(
        recipe,
        base.folder,
        store,
        folder,
        console=console,
        users=[*learners_of(design, seed)[: cell.num_people], *validation_of(design)],
        limits=limits,
        is_synthetic=True,
        image_tokens=image_tokens,
    )
    final = training.run()
    scorer = load_scorer(final)
    return CellAnswers(
        identity=design.identity(cell, seed, changes),
        cell=cell.name,
        seed=seed,
        base=base.digest,
        model_version=scorer.model_version,
        token_shift=_token_shift(recipe, base.folder, final),
        fit_s=time.process_time() - began,
    )


def ask_cell(
    answers: CellAnswers,
    scorer: PreferenceScorer,
    group: AskedGroup,
    *,
    counts: Collection[int],
    store: HistoryStore,
    limits: ImageLimits,
    image_tokens: OpenTokens,
) -> CellAnswers:
    """Ask a trained cell what a group is asked, behind several numbers of references.

    Args:
        answers: so far.
        scorer: of the run.
        group: of people.
        counts: of references.
        store: their images.
        limits: of each image, bytes and pixels.
        image_tokens: opens where those of the base are kept.
    """
    began = time.process_time()
    features = features_of(store, group.table.images, limits=limits, tokens=image_tokens)(scorer)
    predictor = ScorerPredictor(scorer, features, batch_users=batch_size(scorer))
    rights = {}
    for count in counts:
        samples = with_references(group.samples, count)
        told = margins(pair_scores(predictor, samples))
        rights[str(count)] = {user: round(accuracy(own), 6) for user, own in told.items()}
    num_pairs = sum(len(sample.pairs) for sample in group.samples.values())
    own = GroupAnswers(group.digest, num_pairs, rights)
    return answers.with_group(group.name, own, seconds=time.process_time() - began)


def of_people(group: AskedGroup, users: Collection[str]) -> AskedGroup:
    """The same questions to some of the people alone."""
    kept = {user: sample for user, sample in group.samples.items() if user in users}
    return replace(group, samples=kept)


def _token_shift(recipe: Recipe, base: Path, final: Path) -> float | None:
    """How far training moved P_v; its start depends on the recipe's seed alone."""
    if not recipe.scorer.num_preference_tokens:
        return None
    start = build_scorer(recipe, base).preference_tokens.detach()
    return float((read_preference_tokens(final) - start).square().mean().sqrt())
