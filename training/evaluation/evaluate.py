"""A checkpoint and a database -> all that the report shows."""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from itertools import chain
from pathlib import Path
from typing import Any

from recsys.scorer.checkpoint import find_checkpoint, load_scorer
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import load_tokenizer
from storage.histories import HistoryStore
from training.baselines.registry import WEIGHTED
from training.baselines.unweighted import without_weights
from training.data.features import ImageFeatures, ReadImage, stored_images
from training.data.samples import read_histories
from training.data.trained_on import histories_digest, read_trained_on
from training.evaluation.asked import Asked, NamedPairs, ask
from training.evaluation.coldstart_judge import judge_cold_start
from training.evaluation.interpretation import attention_block, nearest_words
from training.evaluation.judge import Judge, judge_all
from training.evaluation.metrics import Figure
from training.evaluation.predictors import Predictor, WeightsMissing
from training.evaluation.scorer_predictor import ScorerPredictor
from training.evaluation.signature_judge import judge_signatures
from training.world.truth import WorldTruth

Results = dict[str, Any]


def evaluate(
    checkpoint: str | Path,
    store: HistoryStore,
    *,
    tell: Callable[[str], None] = lambda what: None,
    num_pairs: int = 8,
    most_users: int | None = None,
    users: Collection[str] | None = None,
    pairs: NamedPairs | None = None,
    against: Mapping[str, str | Path] | None = None,
    weights: Path | None = None,
    truth: WorldTruth | None = None,
    seed: int = 0,
    with_baselines: bool = True,
    with_signatures: bool = True,
    with_cold_start: bool = True,
) -> Results:
    """Judge a checkpoint on the users in storage.

    Args:
        checkpoint: folder, or the name of a shipped one.
        store: the users' choices.
        tell: called with what is being measured.
        num_pairs: target pairs asked of each user, at most.
        most_users: so many unseen and seen users, drawn by the seed; all by default.
        users: judge these alone.
        pairs: judge exactly these pairs.
        against: other checkpoints by name, for the ablations.
        weights: folder with a folder of public weights for each baseline.
        truth: of a synthetic world, for its bounds.
        seed: decides questions, controls and bootstrap draws.
        with_baselines: whether baselines are asked too.
        with_signatures: whether signatures are judged too.
        with_cold_start: whether borrowing from others is judged too.

    Returns:
        What `training.evaluation.report.write_report` takes.

    Raises:
        CheckpointRefused: if a checkpoint cannot be loaded.
        ValueError: if fewer than two users can be asked.
    """
    folder = find_checkpoint(checkpoint)
    scorer = load_scorer(folder)
    tell("reading choices")
    histories = read_histories(store)
    asked = ask(
        histories,
        read_trained_on(folder),
        seed=seed,
        num_references=scorer.config.num_references,
        num_pairs=num_pairs,
        users=users,
        most_users=most_users,
        pairs=pairs,
    )
    read = stored_images(store, histories.images)
    features = ImageFeatures(scorer, read)
    judge = Judge(asked, ScorerPredictor(scorer, features), seed=seed, tell=tell)
    missing: list[dict[str, str]] = []
    baselines: Iterable[Predictor] = ()
    if with_baselines:
        plain = without_weights(asked.known(), features, seed=seed)
        baselines = chain(plain, _weighted(weights, read, missing))
    found = judge_all(
        judge,
        baselines=baselines,
        variants=(_variant(name, path, read) for name, path in (against or {}).items()),
        truth=truth,
        temperature=scorer.config.temperature,
    )

    def stored(row: int) -> bytes:
        return store.image(histories.images[row])

    return {
        "checkpoint": folder.name,
        "model_version": scorer.model_version,
        "data_digest": histories_digest(histories),
        "created_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "num_references": scorer.config.num_references,
        **_plain(found),
        **_inside(scorer, folder, features, asked, stored, seed=seed),
        "signatures": _signatures(scorer, folder, judge, features, truth)
        if with_signatures
        else None,
        "cold_start": _cold_start(scorer, judge, features, truth) if with_cold_start else None,
        "missing": missing,
    }


def _weighted(
    weights: Path | None, read: ReadImage, missing: list[dict[str, str]]
) -> Iterator[Predictor]:
    """Baselines whose public weights are there, one at a time: some take 33 GB.

    Args:
        weights: folder with a folder for each baseline.
        read: row -> RGB image.
        missing: is told which ones are not there, and why.
    """
    for name, load in WEIGHTED.items():
        try:
            if weights is None:
                raise WeightsMissing("no folder of weights was named: pass --weights")
            yield load(weights / name, images=read)
        except WeightsMissing as error:
            missing.append({"what": name, "why": str(error)})


def _variant(name: str, checkpoint: str | Path, read: ReadImage) -> ScorerPredictor:
    scorer = load_scorer(checkpoint)
    return ScorerPredictor(scorer, ImageFeatures(scorer, read), name=name)


def _inside(
    scorer: PreferenceScorer,
    folder: Path,
    features: ImageFeatures,
    asked: Asked,
    stored: Callable[[int], bytes],
    *,
    seed: int,
) -> Results:
    """A look at the preference tokens, where the scorer has any."""
    samples = asked.unseen or asked.seen
    if scorer.config.num_preference_tokens == 0:
        return {}
    return {
        "nearest_words": nearest_words(scorer, _vocabulary(folder)),
        "attention": attention_block(scorer, features, samples, stored=stored, seed=seed),
    }


def _signatures(
    scorer: PreferenceScorer,
    folder: Path,
    judge: Judge,
    features: ImageFeatures,
    truth: WorldTruth | None,
) -> Results:
    """Signatures of the unseen users, or why there are none."""
    asked = judge.asked
    found: Results = _plain(
        judge_signatures(
            scorer,
            folder,
            asked.histories,
            features,
            list(asked.unseen),
            truth=truth,
            seed=judge.seed,
            tell=judge.tell,
        )
    )
    return found


def _cold_start(
    scorer: PreferenceScorer, judge: Judge, features: ImageFeatures, truth: WorldTruth | None
) -> Results | None:
    """What borrowing is worth to unseen users; None where nobody is left to borrow from."""
    asked = judge.asked
    found: Results | None = _plain(
        judge_cold_start(
            scorer,
            asked.histories,
            features,
            asked.unseen,
            truth=truth,
            seed=judge.seed,
            tell=judge.tell,
        )
    )
    return found


def _vocabulary(folder: Path) -> list[str]:
    """Each token id's text where it is a word, and empty text elsewhere."""
    tokenizer = load_tokenizer(folder / "tokenizer")
    texts = [str(tokenizer.decode([token])).strip() for token in range(len(tokenizer))]
    return [text if text.isalpha() else "" for text in texts]


def _plain(value: Any) -> Any:
    """Figures as dictionaries, all the way down."""
    if isinstance(value, Figure):
        return asdict(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(each) for each in value]
    return value
