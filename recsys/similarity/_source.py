"""The main part of an index, from SQL or from a snapshot that agrees with SQL."""

import logging
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np

from recsys.similarity.kinds import build_vector_index
from recsys.similarity.rows import MainPart, Rows
from recsys.similarity.snapshot import SnapshotRefused, load_snapshot, remove_snapshot
from storage.records import SignatureBatch
from storage.signatures import SignatureStore
from storage.tombstones import erasure_mark

_PART = 10_000  # vectors read from SQL at once
_NUM_COMPARED = 32  # of a snapshot's newest rows with SQL

logger = logging.getLogger(__name__)


def built(store: SignatureStore, model_version: str, *, exact_max: int) -> MainPart:
    """Build the main part from all signatures in SQL.

    Args:
        store: authoritative.
        model_version: of the vectors.
        exact_max: search is exact up to this many users.
    """
    read_at = time.time()
    # Before the rows: who is erased after this line makes another mark, wherever their row went.
    mark = erasure_mark(store.database)
    last = store.last_sequence(model_version)
    rows = read_rows(store, model_version, after=0, last=last)
    index = build_vector_index(rows.vectors, exact_max=exact_max)
    return MainPart(rows, last, index, read_at, mark)


def read_rows(store: SignatureStore, model_version: str, *, after: int, last: int) -> Rows:
    """Read the vectors stored after one sequence and at least up to another, one for each user.

    Raises:
        ValueError: if they are not of one dimension.
    """
    batches = list(_batches(store, model_version, after, last))
    if not batches:
        return Rows.empty()
    check_dimensions(model_version, {batch.vectors.shape[1] for batch in batches})
    return Rows.of(
        [user_id for batch in batches for user_id in batch.user_ids],
        np.concatenate([batch.sequences for batch in batches]),
        np.concatenate([batch.vectors for batch in batches]),
    )


def check_dimensions(model_version: str, dimensions: Collection[int | None]) -> None:
    """Check that the vectors of a model version have one dimension.

    Raises:
        ValueError: if they have several.
    """
    if len(dimensions) > 1:
        raise ValueError(
            f"signatures of model version {model_version} must be of one dimension, got"
            f" {sorted(map(str, dimensions))}: erase those that are not its own"
        )


def restored(store: SignatureStore, model_version: str, folder: Path) -> MainPart | None:
    """Load the snapshot if there is one that agrees with SQL; otherwise log why there is none.

    One that was built before somebody was erased is removed.
    """
    try:
        main = load_snapshot(model_version, folder)
        if main is not None:
            _compare(main, store, model_version)
    except SnapshotRefused as error:
        logger.warning("%s: building the index from SQL", error)
        return None
    if main is None or main.mark == erasure_mark(store.database):
        return main
    logger.info("somebody was erased since the snapshot: building the index from SQL")
    try_to_remove_snapshot(model_version, folder)
    return None


def try_to_remove_snapshot(model_version: str, folder: Path) -> None:
    """Remove a model version's snapshots; log a warning where that fails."""
    try:
        remove_snapshot(model_version, folder)
    except OSError as error:
        logger.warning("the snapshot in %s could not be removed: %s", folder, error)


def _batches(
    store: SignatureStore, model_version: str, after: int, last: int
) -> Iterator[SignatureBatch]:
    while after < last:
        batch = store.changes(model_version, after=after, limit=_PART)
        if not len(batch):
            return
        yield batch
        after = int(batch.sequences[-1])


def _compare(main: MainPart, store: SignatureStore, model_version: str) -> None:
    """Raise SnapshotRefused if a snapshot's newest rows are not those that SQL has."""
    last = store.last_sequence(model_version)
    if last < main.sequence:
        raise SnapshotRefused(
            f"a snapshot must not be ahead of SQL at {last}, got one of {main.sequence}"
        )
    rows = main.rows
    newest = np.sort(rows.sequences)[-_NUM_COMPARED:]
    known = store.changes(model_version, after=int(newest[0]) - 1, limit=_NUM_COMPARED)
    for place in np.flatnonzero(known.sequences <= main.sequence):
        here = rows.user_ids.find(known.user_ids[place])
        if (
            here < 0
            or rows.sequences[here] != known.sequences[place]
            or not np.array_equal(rows.vectors[here], known.vectors[place])
        ):
            raise SnapshotRefused("a snapshot must hold what SQL held, got other vectors")
