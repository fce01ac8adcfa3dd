"""Cross-validate a checkpoint on few people: fine-tune it on each fold, and judge it there.

Each fold's run is resumable, in a folder of its own.
"""

import gc
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from rich.console import Console

from recsys.images.decode import DEFAULT_LIMITS, ImageLimits
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.trained_on import write_trained_on
from storage.histories import HistoryStore
from storage.trainings import TrainingStore
from training.baselines.unweighted import without_weights
from training.data.batches import Batches, without_rows
from training.data.encoding import Encoded, encode_all
from training.data.features import OpenTokens
from training.data.samples import PairTable, images_of, read_pair_table
from training.data.splits import eligible
from training.data.trained_on import histories_digest, trained_on
from training.evaluation.answers import Compared
from training.evaluation.cross_validation import Fold, cross_validate, deal_folds
from training.evaluation.questions import NUM_REFERENCES
from training.fitting.assembly import first_parameters, train_only
from training.fitting.objective import step_loss
from training.fitting.plan import Plan
from training.fitting.precision import needs_loss_scaling
from training.fitting.sole_run import sole_run
from training.fitting.trainer import Run, fit
from training.predictors.predictor import Predictor
from training.predictors.scorer import ScorerPredictor, batch_size

FEWEST_LIKED = 5


@dataclass(frozen=True)
class FineTuning:
    """How a checkpoint is taught a few people's tastes.

    Attributes:
        num_steps: optimizer steps a fold; 0 judges the checkpoint as it is.
        learning_rate: peak; lower than for a whole training, for there is little to learn from.
        num_users, num_pairs: users a step, pairs to be told apart of each.
        seed: decides every draw.
    """

    num_steps: int = 100
    learning_rate: float = 3e-4
    num_users: int = 8
    num_pairs: int = 8
    seed: int = 0


def load_to_train(checkpoint: str | Path) -> PreferenceScorer:
    """A checkpoint's scorer on the CPU with its adapter, which for inference would be merged."""
    return load_scorer(checkpoint, merges_adapter=False)


def cross_validate_checkpoint(
    checkpoint: str | Path,
    store: HistoryStore,
    folder: Path,
    *,
    console: Console,
    tuning: FineTuning,
    num_user_folds: int = 3,
    num_prompt_folds: int = 3,
    num_references: int = NUM_REFERENCES,
    limits: ImageLimits = DEFAULT_LIMITS,
    image_tokens: OpenTokens | None = None,
    load: Callable[[str | Path], PreferenceScorer] = load_to_train,
    batch_users: int | None = None,
) -> dict[str, Compared]:
    """Judge a checkpoint before and after fine-tuning, and baselines, on people it never saw.

    Args:
        checkpoint: folder, or the name of a shipped one; its image tokens stay as they are.
        store: the people's choices; pairs with an image that cannot be read are left out.
        folder: receives each fold's run, and trained_on.json. The database keeps where it is.
        console: where progress is shown.
        tuning: how each fold is learned from.
        num_user_folds, num_prompt_folds: folds of users and of prompts; every pairing is a round.
        num_references: read of each person, at most; fewer if the checkpoint reads fewer.
        limits: of each image, bytes and pixels.
        image_tokens: opens where those of the checkpoint are kept; None: they are made anew.
        load: reads the checkpoint with its own adapter, e.g. with its base from another place.
        batch_users: users who share a pass when they are judged; None: as `batch_size` decides.

    Returns:
        By predictor: top1, opposed and how much better the fine-tuned checkpoint is.

    Raises:
        ValueError: if there are too few users or prompts, or another run is using the folder.
        IdentityKeyMissing: if there is no key for trained_on.json.
        TooManyBadImages: if more than 1 % of the images cannot be read.
    """
    with sole_run(folder):
        scorer = load(checkpoint)
        most = min(num_references, scorer.config.num_references)
        deal = partial(
            deal_folds,
            num_user_folds=num_user_folds,
            num_prompt_folds=num_prompt_folds,
            num_references=most,
            seed=tuning.seed,
        )
        table = eligible(read_pair_table(store), FEWEST_LIKED)
        deal(table)  # refuses too few people before their images are read
        rows = sorted({row for pairs in table.pairs.values() for row in images_of(pairs)})
        encoded = encode_all(
            scorer,
            store,
            table.images,
            rows,
            limits=limits,
            console=console,
            tokens=None if image_tokens is None else image_tokens(scorer),
        )
        table = eligible(without_rows(table, encoded.bad), FEWEST_LIKED)
        folds = deal(table)
        if tuning.num_steps:
            _record(table, store, folder)

        def learn(number: int, fold: Fold) -> list[Predictor]:
            # Layers computed again refer to themselves: they would keep the last weights.
            gc.collect()
            tuned = load(checkpoint)
            drawn = _drawn(fold, tuning, most)
            _fine_tune(tuned, drawn, encoded, folder / f"fold{number}", tuning, console)
            return [
                _asked(tuned, encoded, "fine_tuned", batch_users),
                _asked(scorer, encoded, "as_shipped", batch_users),
                *without_weights(fold.known, encoded.rows, seed=tuning.seed),
                *_knowing_the_images(table, fold, encoded, seed=tuning.seed),
            ]

        return cross_validate(folds, learn, compared_with="fine_tuned", seed=tuning.seed)


def _asked(
    scorer: PreferenceScorer, encoded: Encoded, name: str, batch_users: int | None
) -> ScorerPredictor:
    size = batch_size(scorer, batch_users)
    return ScorerPredictor(scorer, encoded.rows, name=name, batch_users=size)


def _record(table: PairTable, store: HistoryStore, folder: Path) -> None:
    """Before any fold: each is learned from in others, and their states stay in the folder."""
    key = store.keys.needed().current
    write_trained_on(trained_on(table, parts={}, key=key), folder)
    TrainingStore(store.database).record(str(folder.resolve()))


def _drawn(fold: Fold, tuning: FineTuning, num_references: int) -> Batches:
    return Batches(
        fold.learned,
        tuple(sorted(fold.learned.pairs)),
        num_users=tuning.num_users,
        num_pairs=tuning.num_pairs,
        num_references=num_references,
        fewer_references=0.25,
        seed=tuning.seed,
    )


def _fine_tune(
    scorer: PreferenceScorer,
    drawn: Batches,
    encoded: Encoded,
    folder: Path,
    tuning: FineTuning,
    console: Console,
) -> None:
    if tuning.num_steps == 0:
        return
    trained = first_parameters(scorer)
    if _is_large(scorer):
        scorer.backbone.keep_no_activations()
    train_only(scorer, trained)
    scorer.train()
    plan = Plan(
        "fine_tune",
        num_steps=tuning.num_steps,
        learning_rate=tuning.learning_rate,
        num_warmup_steps=min(20, tuning.num_steps // 5),
        seed=tuning.seed,
    )
    bound_to = f"{scorer.model_version} {histories_digest(drawn.table)}"
    run = Run(folder, console, bound_to, identify=drawn.names, model=scorer)
    loss = step_loss(scorer, drawn, encoded)
    fit(loss, trained, plan, run=run, scales_loss=needs_loss_scaling(scorer))
    train_only(scorer, {})
    scorer.eval()


def _is_large(scorer: PreferenceScorer) -> bool:
    """Whether the base is held in 16 or 4 bits: a step of Idefics2-8B would keep 320 GB."""
    return any(weight.dtype != torch.float32 for weight in scorer.parameters())


def _knowing_the_images(
    table: PairTable, fold: Fold, encoded: Encoded, *, seed: int
) -> list[Predictor]:
    """Crowd baselines that also know what the other people thought of the very images asked.

    Nobody who must rank new images knows that: the mark to see how much taste is shared.
    """
    asked = {user: sample.references for user, sample in fold.samples.items()}
    others = {user: pairs for user, pairs in table.pairs.items() if user not in asked}
    known = PairTable(others | asked, table.images)
    crowd = {"mean_rating", "user_knn", "matrix_factorisation"}
    predictors = without_weights(known, encoded.rows, seed=seed)
    knowing = [each for each in predictors if each.name in crowd]
    for each in knowing:
        each.name = f"{each.name}_of_same_images"
    return knowing
