"""Users of near signatures: an index of one model version's vectors that SQL has the last word on.

SQL is the truth. Before a search what has been put since is read from there, at most
`FRESH_S` later, whoever put it; and every answer is checked there, so that an erased user is not
found from that very moment, nor a vector that has been replaced.
"""

import logging
import threading
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from recsys.similarity.check import Answers, tries
from recsys.similarity.kinds import EXACT_MAX
from recsys.similarity.rows import IndexView, Main, Neighbour
from recsys.similarity.snapshot import MAX_AGE_S, remove_snapshot, save_snapshot
from recsys.similarity.source import built, check_dimensions, read_rows, restored
from storage.errors import StorageError
from storage.signatures import SignatureStore

FRESH_S = 0.25

__all__ = ["IndexFacts", "Neighbour", "SignatureIndex"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """What an index holds now.

    Attributes:
        kind: "exact", "ivf-pq", "hnsw" or "gpu".
        num_users: who can be found, and who has been erased without having been found since.
        num_recent: put since the large part was built.
        sequence: the last change known.
        recall: @10 against exact search on a sample; 1 where all are compared.
    """

    kind: str
    num_users: int
    num_recent: int
    sequence: int
    recall: float


class SignatureIndex:
    """Finds the nearest signatures of one model version; may be used by many threads.

    One large part is built at a time and never changed; what has come since is a small part that
    is compared as a whole. When that is past its share, a new large part is built beside.

    The vector of a user who was erased is never found again, but stays in memory and in the
    snapshot until the large part is built anew. An index that is searched or synced sees to that
    within a day: it builds anew, or removes the snapshot where `rebuilds` is False. A folder that
    no index uses keeps what it has: remove it.

    Args:
        store: the truth.
        model_version: whose vectors; no others are ever read.
        folder: of snapshots; None: none are read or written.
        exact_max: up to so many users all are compared.
        share: of the large part, or of `exact_max`, that the small part may reach.
        rebuilds: False for a process that is soon over: nothing is built in the background.
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
        self._turn = threading.Lock()  # of changes; searches take whichever view there is
        self._building = threading.Lock()
        self._builder: threading.Thread | None = None
        self._known_at = -float("inf")
        self._clean_at = -float("inf")
        main = None if folder is None else restored(store, model_version, folder)
        self._view = IndexView.of(self._built() if main is None else main)
        if main is None:
            self._try_to_save()
        self.sync()

    @property
    def size(self) -> int:
        """How many users it holds; one may have been erased since."""
        return self._view.size

    @property
    def facts(self) -> IndexFacts:
        """What it holds now."""
        view = self._view
        candidates = view.main.candidates
        recall = getattr(getattr(candidates, "effort", None), "recall", 1.0)
        kind = "exact" if candidates is None else candidates.kind
        return IndexFacts(kind, view.size, len(view.recent), view.sequence, recall)

    def search(
        self, vector: npt.NDArray[np.float32], k: int, *, exclude: Collection[str] = ()
    ) -> list[Neighbour]:
        """Find the users of the nearest signatures.

        Args:
            vector: shape (E,), of length 1.
            k: how many, at least 1.
            exclude: users that are not to be found.

        Returns:
            Best first, equal ones by user id; fewer than k where there are no more.

        Raises:
            ValueError: if the vector is of another shape, or k less than 1.
            StorageError: if SQL does not answer.
        """
        return self._search(np.asarray(vector)[None], k, frozenset(exclude))[0]

    def search_many(self, vectors: npt.NDArray[np.float32], k: int) -> list[list[Neighbour]]:
        """Find the users of the nearest signatures of each vector.

        Args:
            vectors: shape (N, E), of length 1.
            k: how many for each, at least 1.

        Raises:
            ValueError: if the vectors are of another shape, or k less than 1.
            StorageError: if SQL does not answer.
        """
        return self._search(np.asarray(vectors), k, frozenset())

    def sync(self, *, max_age_s: float = 0.0) -> None:
        """Read from SQL what has been put since.

        Args:
            max_age_s: nothing is done if it was done so shortly before this call.
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
        self._build_if_worn()

    def rebuild(self) -> None:
        """Build the large part from SQL, swap it in, and write a snapshot where there is a folder.

        Searches go on meanwhile.
        """
        with self._building:
            self._swap_in()

    def save(self) -> None:
        """Write the large part as a snapshot; a restart reads what came since from SQL.

        Raises:
            ValueError: if there is no folder.
            OSError: if it cannot be written.
        """
        if self.folder is None:
            raise ValueError("an index must have a folder to be saved, got none: pass folder")
        main = self._view.main
        if len(main.rows):
            save_snapshot(main, self.model_version, self.folder)

    def close(self) -> None:
        """Wait for a large part that is being built."""
        builder = self._builder
        if builder is not None:
            builder.join()

    def _search(
        self, queries: npt.NDArray[np.float32], k: int, exclude: frozenset[str]
    ) -> list[list[Neighbour]]:
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}")
        self.sync(max_age_s=FRESH_S)
        view = self._view
        queries = _checked(queries, view.dimension)
        if not view.size:
            return [[] for _ in queries]
        wanted = k + len(exclude)
        answers = Answers(self.store, self.model_version, k, exclude)
        quick = view.quick(queries, wanted)
        answers.ask([row for rows in quick for row in (rows or [])[:wanted]])
        found = [
            answers.first(tries(view, query, rows, wanted))
            for query, rows in zip(queries, quick, strict=True)
        ]
        if answers.dead:
            with self._turn:
                self._view = self._view.without(answers.dead)
        return found

    def _swap_in(self) -> None:
        """Build the large part and take it; holds the lock of building."""
        main = self._built()
        with self._turn:
            self._view = self._caught_up(IndexView.of(main))
        self._try_to_save()

    def _try_to_save(self) -> None:
        if self.folder is None:
            return
        try:
            self.save()
        except OSError as error:
            logger.warning("the index serves, but its snapshot could not be written: %s", error)

    def _built(self) -> Main:
        return built(self.store, self.model_version, exact_max=self._exact_max)

    def _caught_up(self, view: IndexView) -> IndexView:
        """The view with all that SQL has by now; holds the turn."""
        last = self.store.last_sequence(self.model_version)
        if last < view.sequence:
            logger.warning(
                "SQL knows %d changes of signatures, the index %d: the database was restored;"
                " building the index anew", last, view.sequence,
            )  # fmt: skip
            return IndexView.of(self._built())
        if last == view.sequence:
            return view
        changed = read_rows(self.store, self.model_version, after=view.sequence, last=last)
        check_dimensions(self.model_version, {view.dimension, changed.dimension} - {None})
        return view.with_changes(changed, last)

    def _build_if_worn(self) -> None:
        view = self._view
        is_overdue = self._is_overdue(view)
        if is_overdue and self.folder is not None and not self._rebuilds:
            remove_snapshot(self.model_version, self.folder)
            self._clean_at = time.time()
        allowed = self._share * max(len(view.main.rows), self._exact_max)
        is_worn = is_overdue or view.num_changed > allowed
        if not self._rebuilds or not is_worn or self._building.locked():
            return
        self._builder = threading.Thread(target=self._rebuild_beside, daemon=True)
        self._builder.start()

    def _is_overdue(self, view: IndexView) -> bool:
        """Whether somebody who was erased or changed has been kept for too long; asked once a day.

        Everybody in SQL is in the view, so whoever is in the view alone was erased.
        """
        if time.time() - max(view.main.read_at, self._clean_at) <= MAX_AGE_S:
            return False
        if view.num_gone or view.size != self.store.count(self.model_version):
            return True
        self._clean_at = time.time()
        return False

    def _rebuild_beside(self) -> None:
        if not self._building.acquire(blocking=False):
            return  # another thread is at it
        try:
            self._swap_in()
        except StorageError:
            logger.exception("the index could not be built anew; the one before goes on")
        finally:
            self._building.release()


def _checked(queries: npt.NDArray[np.float32], dimension: int | None) -> npt.NDArray[np.float32]:
    if queries.ndim != 2 or queries.shape[1] != (dimension or queries.shape[1]):
        raise ValueError(
            f"a vector must have shape ({dimension or 'E'},), got {queries.shape[1:]}:"
            " read it with the model version of the index"
        )
    if not np.isfinite(queries).all():
        raise ValueError("a vector must hold finite numbers alone, got others")
    return np.ascontiguousarray(queries, dtype=np.float32)
