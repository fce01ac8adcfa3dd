"""A checkpoint and a database -> all that the report shows."""

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from recsys.counts import counted
from recsys.images.decode import DEFAULT_LIMITS, ImageLimits
from recsys.scorer.checkpoint import find_checkpoint, load_scorer
from recsys.scorer.trained_on import TrainedOn, read_trained_on
from storage.histories import HistoryStore
from training.data.features import OpenTokens, features_of, stored_images
from training.data.samples import read_pair_table
from training.data.trained_on import histories_digest
from training.evaluation.asked import Asked, NamedPairs, ask, ask_as_paper
from training.evaluation.judge import Judge, LoadScorer
from training.evaluation.questions import NUM_REFERENCES
from training.evaluation.results import Results
from training.evaluation.tables.registry import TABLES
from training.world.truth import WorldTruth

MOST_PAIRS = 8
"""Pairs asked of each user."""


def evaluate(
    checkpoint: str | Path,
    store: HistoryStore,
    *,
    progress: Callable[[str], None] = lambda what: None,
    num_pairs: int | None = None,
    num_references: int = NUM_REFERENCES,
    most_users: int | None = None,
    users: Collection[str] | None = None,
    pairs: NamedPairs | None = None,
    follows_paper: bool = False,
    against: Mapping[str, str | Path] | None = None,
    weights: Path | None = None,
    truth: WorldTruth | None = None,
    seed: int = 0,
    without: Collection[str] = (),
    limits: ImageLimits = DEFAULT_LIMITS,
    load: LoadScorer = load_scorer,
    image_tokens: OpenTokens | None = None,
    batch_users: int | None = None,
) -> Results:
    """Judge a checkpoint on the users in storage.

    Args:
        checkpoint: folder, or the name of a shipped one.
        store: the users' choices, and the keys that tell whom the checkpoint learned from.
        progress: called with what is being measured.
        num_pairs: pairs asked of each user, at most; None: `MOST_PAIRS`, and asked as in the paper
            all.
        num_references: read of each person, and of each half of a history, at most; whoever has
            fewer is not asked. Never more than the checkpoint reads.
        most_users: so many unseen and seen users, drawn by the seed; all by default.
        users: judge these alone.
        pairs: judge exactly these pairs.
        follows_paper: ask as the paper does of test data that stand apart from all that was learned
            from (`ask_as_paper`), of everybody in `store`; no users or pairs are named then.
        against: other checkpoints by name, for the ablations.
        weights: folder with a folder of public weights for each baseline.
        truth: of a synthetic world, for its bounds.
        seed: decides questions, controls and the intervals of opposed pairs; other intervals are
            always drawn with seed 0.
        without: names of tables that are left out.
        limits: of each image, bytes and pixels.
        load: reads the checkpoint and those of `against`, e.g. with their base from another place.
        image_tokens: opens where those of a scorer are kept; None: each scorer makes its own.
        batch_users: users who share a pass of a scorer; None: one on the CPU, as many as a GPU's
            memory takes.

    Raises:
        CheckpointRefused: if a checkpoint cannot be loaded.
        ValueError: if fewer than two users can be asked.
    """
    folder = find_checkpoint(checkpoint)
    others = {name: find_checkpoint(other) for name, other in (against or {}).items()}
    scorer = load(folder)
    progress("reading choices")
    table = read_pair_table(store)
    record = read_trained_on(folder, store.keys.known())
    learned = None if record is None else record.told
    count = min(num_references, scorer.config.num_references)
    if follows_paper:
        asked = ask_as_paper(table, learned, seed=seed, num_references=count, num_pairs=num_pairs)
    else:
        asked = ask(
            table,
            learned,
            seed=seed,
            num_references=count,
            num_pairs=MOST_PAIRS if num_pairs is None else num_pairs,
            users=users,
            most_users=most_users,
            pairs=pairs,
        )
    judge = Judge(
        asked,
        scorer,
        folder,
        features_of(store, table.images, limits=limits, tokens=image_tokens),
        stored_images(store, table.images, limits=limits),
        stored=lambda row: store.image(table.images[row]),
        learned=learned,
        truth=truth,
        weights=weights,
        against=others,
        load=load,
        batch_users=batch_users,
        num_references=count,
        seed=seed,
        progress=progress,
    )
    return Results(
        checkpoint=folder.name,
        model_version=scorer.model_version,
        data_digest=histories_digest(table),
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        seed=seed,
        num_references=count,
        device=str(scorer.backbone.device),
        dtype=str(scorer.backbone.dtype).removeprefix("torch."),
        by_table={each.name: each.measure(judge) for each in TABLES if each.name not in without},
        notes=tuple(_notes(asked, record)),
    )


def _notes(asked: Asked, record: TrainedOn | None) -> Iterator[str]:
    if record is not None and not record.can_tell:
        missing = [each.key_id for each in record.layers if each.key_id and not each.can_tell]
        keys = "key" if len(missing) == 1 else "keys"
        are = "is" if len(missing) == 1 else "are"
        whom = "whom it names under no other key" if asked.is_certain else "everybody"
        yield (
            f"The checkpoint says whom it learned from under the identity {keys}"
            f" {', '.join(missing)}, which {are} not among those given (identity_key): {whom} is"
            " counted as unseen, which flatters it if some were learned from."
        )
    elif not asked.is_certain:
        yield (
            "The checkpoint does not say whom it learned from: everybody is counted as unseen, "
            "which flatters it if some were learned from."
        )
    if asked.follows_paper:
        yield (
            "Asked as in the paper: references and pairs are drawn at random from each user's"
            " choices in the test files."
        )
        if asked.is_certain and not asked.seen:
            yield (
                "No user of the test files is among those learned from. They are told apart by"
                " their numbers: import the training split without --user-prefix."
            )
    if asked.num_overlapping:
        pairs = counted(asked.num_overlapping, "pair")
        yield f"Not asked: {pairs} with an image that was learned from or validated on."
