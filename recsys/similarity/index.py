"""An index of one model version's signatures. SQL is authoritative.

A search first reads what SQL has received since, so that a new signature is found within
`FRESH_S`, whichever process stored it. Every result is checked against SQL: users who were erased
and vectors that were replaced are never returned.
"""

import logging
import threading
import time
from collections.abc import Collection
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.similarity._source import (
    built,
    check_dimensions,
    read_rows,
    restored,
    try_to_remove_snapshot,
)
from recsys.similarity.check import CheckedResults, growing_results
from recsys.similarity.kinds import EXACT_MAX
from recsys.similarity.rows import IndexView, MainPart, Neighbour
from recsys.similarity.snapshot import MAX_AGE_S, save_snapshot
from storage.errors import StorageError
from storage.signatures import SignatureStore
from storage.tombstones import ErasureMark, erasure_mark

FRESH_S = 0.25
ERASURES_S = 5.0
"""How often an index in use looks whether somebody was erased."""

logger = logging.getLogger(__name__)


class SignatureIndex:
    """Finds the nearest signatures of one model version. Thread-safe.

    It has a main part, which is never changed, and a small recent part, which is searched exactly.
    When the recent part outgrows its share, a new main part is built in the background.

    The vector of an erased user is never returned. An index in use sees within `ERASURES_S` that
    somebody was erased: it removes the snapshot and, unless `rebuilds` is False, builds the main
    part anew. Once a day it does so too if users are missing whom no mark tells of. An index that
    is opened removes a snapshot from before an erasure.

    Args:
        store: authoritative.
        model_version: of the vectors; no others are read.
        folder: of snapshots; None: no snapshots are read or written.
        exact_max: search is exact up to this many users.
        share: how large the recent part may grow, relative to the main part or to `exact_max`.
        rebuilds: False for a short-lived process: nothing is built in the background.
    """

    def __init__(
        self,
        store: SignatureStore,
        model_version: str,
        *,
        folder: Path | None = None,
        exact_max: int = EXACT_MAX,
        share: float = 0.1,
        rebuilds: bool = True,
    ) -> None:
        self.store = store
        self.model_version = model_version
        self.folder = folder
        self._exact_max = exact_max
        self._share = share
        self._rebuilds = rebuilds
        self._turn = threading.Lock()  # of writers; searches take the view as it is
        self._building = threading.Lock()
        self._builder: threading.Thread | None = None
        self._known_at = -float("inf")
        self._clean_at = -float("inf")
        self._looked_at = -float("inf")
        self._mark: ErasureMark | None = None  # as of the last look
        main = None if folder is None else restored(store, model_version, folder)
        self._view = IndexView.of(self._built() if main is None else main)
        if main is None:
            self._try_to_save()
        self.sync()

    @property
    def size(self) -> int:
        """The number of users in the index; users erased since may still count."""
        return self._view.size

    def search(
        self, vector: npt.NDArray[np.float32], k: int, *, exclude: Collection[str] = ()
    ) -> list[Neighbour]:
        """Find the users of the nearest signatures.

        Args:
            vector: shape (E,), of length 1.
            k: how many, at least 1.
            exclude: users to leave out.

        Returns:
            The nearest first, ties by user id; fewer than k if there are no more.

        Raises:
            ValueError: if the vector is of another shape, or k less than 1.
            StorageError: if SQL does not answer.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.sync(max_age_s=FRESH_S)
        view = self._view
        query = _checked(np.asarray(vector), view.dimension)
        if not view.size:
            return []
        excluded = frozenset(exclude)
        wanted = k + len(excluded)
        checked = CheckedResults(self.store, self.model_version, k, excluded)
        approximate = view.approximate(query[None], wanted)[0]
        results = checked.first(growing_results(view, query, approximate, wanted))
        if checked.dead:
            with self._turn:
                self._view = self._view.without(checked.dead)
        return results

    def sync(self, *, max_age_s: float = 0.0) -> None:
        """Read what SQL has received since.

        Args:
            max_age_s: do nothing if the last sync is no older than this.
        """
        asked_at = time.monotonic()
        if self._known_at >= asked_at - max_age_s:
            return
        with self._turn:
            if self._known_at >= asked_at - max_age_s:
                return  # another thread did it while this one waited
            began_at = time.monotonic()
            self._view = self._caught_up(self._view)
            self._known_at = began_at
        self._rebuild_if_due()

    def drop_erased(self) -> None:
        """Do now what an index in use does within `ERASURES_S` after an erasure.

        Raises:
            StorageError: if SQL does not answer.
        """
        self._looked_at = -float("inf")
        self._rebuild_if_due()

    def save(self) -> None:
        """Write the main part as a snapshot; a restart reads later changes from SQL.

        Raises:
            ValueError: if there is no folder.
            OSError: if it cannot be written.
        """
        if self.folder is None:
            raise ValueError("an index needs a folder to be saved, got none: pass folder")
        main = self._view.main
        if len(main.rows):
            save_snapshot(main, self.model_version, self.folder)

    def close(self) -> None:
        """Wait for a main part that is being built."""
        builder = self._builder
        if builder is not None:
            builder.join()

    def _try_to_save(self) -> None:
        if self.folder is None:
            return
        try:
            self.save()
        except OSError as error:
            logger.warning("the snapshot of the index could not be written: %s", error)

    def _built(self) -> MainPart:
        return built(self.store, self.model_version, exact_max=self._exact_max)

    def _caught_up(self, view: IndexView) -> IndexView:
        """The view with all that SQL has by now; the caller holds the lock."""
        last = self.store.last_sequence(self.model_version)
        if last < view.sequence:
            logger.warning(
                "SQL knows %d changes of signatures, the index %d: the database was restored;"
                " rebuilding the index", last, view.sequence,
            )  # fmt: skip
            return IndexView.of(self._built())
        if last == view.sequence:
            return view
        changed = read_rows(self.store, self.model_version, after=view.sequence, last=last)
        check_dimensions(self.model_version, {view.dimension, changed.dimension} - {None})
        return view.with_changes(changed, last)

    def _rebuild_if_due(self) -> None:
        view = self._view
        holds_erased = self._sees_erasure(view) or self._is_overdue(view)
        if holds_erased and self.folder is not None:
            try_to_remove_snapshot(self.model_version, self.folder)
            if not self._rebuilds:
                self._clean_at = time.time()
        allowed = self._share * max(len(view.main.rows), self._exact_max)
        is_due = holds_erased or view.num_changed > allowed
        if not self._rebuilds or not is_due or self._building.locked():
            return
        self._builder = threading.Thread(target=self._rebuild_in_background, daemon=True)
        self._builder.start()

    def _sees_erasure(self, view: IndexView) -> bool:
        """Whether somebody was erased since the main part was built, and that is news here."""
        now = time.monotonic()
        if now - self._looked_at < ERASURES_S:
            return False
        self._looked_at = now
        before, self._mark = self._mark, erasure_mark(self.store.database)
        # Where the main part can be built anew, what is not done yet is news at each look.
        return self._mark != view.main.mark and (self._rebuilds or self._mark != before)

    def _is_overdue(self, view: IndexView) -> bool:
        """Whether vectors of erased users may have been kept for a day; checked once a day.

        All users in SQL are in the view, so users in the view alone were erased. It is seen here
        where the mark is the same again: somebody was erased and let back between two looks.
        """
        if time.time() - max(view.main.read_at, self._clean_at) <= MAX_AGE_S:
            return False
        if view.num_gone or view.size != self.store.count(self.model_version):
            return True
        self._clean_at = time.time()
        return False

    def _rebuild_in_background(self) -> None:
        if not self._building.acquire(blocking=False):
            return  # another thread builds
        try:
            main = self._built()
            with self._turn:
                self._view = self._caught_up(IndexView.of(main))
            self._try_to_save()
        except StorageError:
            logger.exception("the index could not be rebuilt; the old one stays in use")
        finally:
            self._building.release()


def _checked(vector: npt.NDArray[np.float32], dimension: int | None) -> npt.NDArray[np.float32]:
    if vector.ndim != 1 or len(vector) != (dimension or len(vector)):
        raise ValueError(
            f"a vector must have shape ({dimension or 'E'},), got {vector.shape}:"
            " read it with the model version of the index"
        )
    if not np.isfinite(vector).all():
        raise ValueError("a vector must be finite, got NaN or infinity")
    return np.ascontiguousarray(vector, dtype=np.float32)
