"""Two checkpoints compared on the people in storage whom neither of them knows."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from recsys.images.decode import DEFAULT_LIMITS, ImageLimits
from recsys.scorer.checkpoint import find_checkpoint, load_scorer
from recsys.scorer.trained_on import TrainedOn, read_trained_on
from storage.histories import HistoryStore
from training.data.features import OpenTokens, features_of
from training.data.samples import read_pair_table
from training.evaluation.asked import ask
from training.evaluation.comparison import Comparison, answers_by_references, compare
from training.evaluation.evaluate import MOST_PAIRS
from training.evaluation.judge import LoadScorer


@dataclass(frozen=True)
class ComparedCheckpoints:
    """Two checkpoints on the same questions.

    Attributes:
        first, second: their model versions.
        comparison: the second against the first.
        is_certain: whether both tell all whom they learned from; else some of these may be asked.
    """

    first: str
    second: str
    comparison: Comparison
    is_certain: bool


def compare_checkpoints(
    first: str | Path,
    second: str | Path,
    store: HistoryStore,
    *,
    most_users: int | None = None,
    seed: int = 0,
    limits: ImageLimits = DEFAULT_LIMITS,
    load: LoadScorer = load_scorer,
    image_tokens: OpenTokens | None = None,
    progress: Callable[[str], None] = lambda what: None,
) -> ComparedCheckpoints:
    """Ask both about the newest choices of people whom neither learned from nor was chosen by.

    Args:
        first, second: folders, or names of shipped ones.
        store: the people's choices, and the keys that tell whom a checkpoint learned from.
        most_users: so many people, drawn by the seed; all by default.
        seed: draws them.
        limits: of each image, bytes and pixels.
        load: reads a checkpoint, e.g. with its base from another place.
        image_tokens: opens where those of a scorer are kept; None: each scorer makes its own.
        progress: called with what is being measured.

    Raises:
        CheckpointRefused, NotFound: if one of them cannot be loaded.
        ValueError: if fewer than two people can be asked.
    """
    folders = [find_checkpoint(each) for each in (first, second)]
    records = [read_trained_on(folder, store.keys.known()) for folder in folders]
    layers = [layer for each in records if each is not None for layer in each.layers]
    told = [each for each in layers if each.can_tell]
    is_certain = None not in records and len(told) == len(layers)
    scorers = [load(folder) for folder in folders]
    table = read_pair_table(store)
    asked = ask(
        table,
        _joined(told),
        seed=seed,
        num_references=min(each.config.num_references for each in scorers),
        num_pairs=MOST_PAIRS,
        most_users=most_users,
    )
    if len(asked.unseen) < 2:
        raise ValueError(
            "at least two people in storage must be unknown to both checkpoints, got"
            f" {len(asked.unseen)} with enough choices: import more choices"
        )
    tokens = features_of(store, table.images, limits=limits, tokens=image_tokens)
    answers = []
    for name, scorer in zip(("first", "second"), scorers, strict=True):
        progress(f"{name} checkpoint")
        answers.append(answers_by_references(scorer, tokens(scorer), asked.unseen))
    one, other = (each.model_version for each in scorers)
    return ComparedCheckpoints(one, other, compare(*answers), is_certain)


def _joined(layers: list[TrainedOn]) -> TrainedOn | None:
    """Whom any of them tells of."""
    if not layers:
        return None
    head, *others = layers
    return replace(head, earlier=tuple(others))
