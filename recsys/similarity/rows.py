"""Users, sequences and vectors of one model version as immutable arrays, ordered by user id.

A search reads a view: a main part, which has an index, and a small recent part. A change makes a
new view, so that it does not disturb searches in progress.
"""

import time
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from recsys.similarity._exact import Positions, Vectors
from recsys.similarity.kinds import MAX_K, VectorIndex
from storage.tombstones import NOBODY_ERASED, ErasureMark

_SPARE = 4  # extra neighbours, in case SQL no longer has some
_TIE = 1e-5  # how much float32 sums of equal vectors may differ

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another user with a near signature.

    Attributes:
        user_id: who.
        similarity: cosine of the two signatures, in [-1, 1].
        sequence: of the vector in SQL.
    """

    user_id: str
    similarity: float
    sequence: int


@dataclass(frozen=True, eq=False)
class UserIds:
    """Sorted ids, packed as UTF-8 bytes.

    The layout is that of pyarrow's LargeStringArray, which takes the same memory: 22 bytes for an
    id of 14 characters. pyarrow packs a million ids in 0.04 s instead of 0.22, of a build that
    takes a minute, but reads the ids of one search in 12.5 us instead of 7.8, and importing it
    takes 35 MiB (measured on one core at 200,000 and 1,000,000 users).

    Attributes:
        text: all ids, concatenated.
        ends: shape (N + 1,): the start of each id, and the end of the last.
    """

    text: Bytes
    ends: Positions

    @staticmethod
    def of(user_ids: Sequence[str]) -> "UserIds":
        """Pack sorted ids."""
        encoded = [user_id.encode() for user_id in user_ids]
        ends = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(each) for each in encoded], out=ends[1:])
        return UserIds(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        """The number of ids."""
        return len(self.ends) - 1

    def __getitem__(self, position: int) -> bytes:
        """One id, UTF-8."""
        if not 0 <= position < len(self):
            raise IndexError(position)
        return self.text[self.ends[position] : self.ends[position + 1]].tobytes()

    def some(self, positions: Positions) -> list[bytes]:
        """Several ids, UTF-8."""
        begins, ends = self.ends.take(positions).tolist(), self.ends.take(positions + 1).tolist()
        return [self.text[begin:end].tobytes() for begin, end in zip(begins, ends, strict=True)]

    def find(self, user_id: str) -> int:
        """Return the position of an id, or -1."""
        sought = user_id.encode()
        position = bisect_left(self, sought)
        return position if position < len(self) and self[position] == sought else -1


@dataclass(frozen=True, eq=False)
class Rows:
    """N users, ordered by id.

    Attributes:
        user_ids: N.
        sequences: shape (N,), int64, of the vectors in SQL.
        vectors: shape (N, E), float32.
    """

    user_ids: UserIds
    sequences: Positions
    vectors: Vectors

    @staticmethod
    def of(
        user_ids: Sequence[str],
        sequences: npt.NDArray[np.int64],
        vectors: npt.NDArray[np.float32],
    ) -> "Rows":
        """Order rows by user id; of two rows of one user the later is kept."""
        last = dict(zip(user_ids, range(len(user_ids)), strict=True))
        kept = sorted(last)
        places = np.array([last[user_id] for user_id in kept], dtype=np.int64)
        return Rows(UserIds.of(kept), sequences[places], vectors[places])

    @staticmethod
    def empty() -> "Rows":
        """No rows."""
        return Rows.of([], np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float32))

    def __len__(self) -> int:
        """The number of users."""
        return len(self.user_ids)

    @property
    def dimension(self) -> int | None:
        """E; None while there are no users."""
        return int(self.vectors.shape[1]) if len(self) else None

    def positions(self, user_ids: Sequence[str]) -> Positions:
        """Return the positions of those of these users who have a row."""
        positions = map(self.user_ids.find, user_ids)
        return np.array([position for position in positions if position >= 0], dtype=np.int64)

    def taken(self, kept: Positions | Flags) -> "Rows":
        """Return some of the rows, in this order."""
        ids = self.user_ids.some(np.arange(len(self))[kept])
        return Rows(
            UserIds.of([each.decode() for each in ids]), self.sequences[kept], self.vectors[kept]
        )

    def names(self) -> list[str]:
        """Return all ids."""
        return [each.decode() for each in self.user_ids.some(np.arange(len(self)))]


@dataclass(frozen=True, eq=False)
class MainPart:
    """The main part of an index, which is only ever replaced as a whole.

    Attributes:
        rows: of all users at `sequence`.
        sequence: the model version's last sequence when the rows were read.
        vector_index: of the rows' vectors; None: search is exact.
        read_at: when reading began, in seconds since 1970.
        mark: of the erasures before reading began; there is another one by now if the rows may hold
            somebody who was erased since.
    """

    rows: Rows
    sequence: int
    vector_index: VectorIndex | None
    read_at: float = field(default_factory=time.time)
    mark: ErasureMark = NOBODY_ERASED


@dataclass(frozen=True, eq=False)
class IndexView:
    """The state of an index at one moment.

    Attributes:
        main: the main part.
        is_gone: shape (N,): rows of main whose user was erased or has another vector by now.
        num_gone: the number of those rows.
        recent: rows stored since main was read; the same users' rows in main are gone.
        sequence: of the last change included.
    """

    main: MainPart
    is_gone: Flags
    num_gone: int
    recent: Rows
    sequence: int

    @staticmethod
    def of(main: MainPart) -> "IndexView":
        """A view of the main part alone."""
        is_gone = np.zeros(len(main.rows), dtype=np.bool_)
        return IndexView(main, is_gone, 0, Rows.empty(), main.sequence)

    @property
    def size(self) -> int:
        """The number of users in the view."""
        return len(self.main.rows) - self.num_gone + len(self.recent)

    @property
    def num_changed(self) -> int:
        """Changes since main was built; erasures that no search has come across do not count."""
        return self.num_gone + len(self.recent)

    @property
    def dimension(self) -> int | None:
        """E; None while there are no users."""
        return self.main.rows.dimension or self.recent.dimension

    def with_changes(self, changed: Rows, sequence: int) -> "IndexView":
        """Return a view with new vectors, whose sequences are all above this view's."""
        if not len(changed):
            return replace(self, sequence=sequence)
        is_gone = self.is_gone.copy()
        names = changed.names()
        is_gone[self.main.rows.positions(names)] = True
        recent = changed
        if len(self.recent):
            recent = Rows.of(
                [*self.recent.names(), *names],
                np.concatenate([self.recent.sequences, changed.sequences]),
                np.concatenate([self.recent.vectors, changed.vectors]),
            )
        return IndexView(self.main, is_gone, int(is_gone.sum()), recent, sequence)

    def without(self, dead: Collection[Neighbour]) -> "IndexView":
        """Return a view without rows that SQL no longer has; rows stored since stay."""
        is_gone = self.is_gone.copy()
        left = np.ones(len(self.recent), dtype=np.bool_)
        for row in dead:
            for rows, is_row_gone, value in (
                (self.main.rows, is_gone, True),
                (self.recent, left, False),
            ):
                place = rows.user_ids.find(row.user_id)
                if place >= 0 and rows.sequences[place] == row.sequence:
                    is_row_gone[place] = value
        recent = self.recent if left.all() else self.recent.taken(left)
        return replace(self, is_gone=is_gone, num_gone=int(is_gone.sum()), recent=recent)

    def approximate(self, queries: Vectors, k: int) -> "list[list[Neighbour] | None]":
        """Return what the index says is nearest to each query; None where it returns too few.

        Args:
            queries: shape (N, E).
            k: how many are wanted; a few more are returned if there are.
        """
        index = self.main.vector_index
        if index is None or k > MAX_K:
            return [None] * len(queries)
        nearest = index.nearest(queries, k)
        return [self._merged(query, near, k) for query, near in zip(queries, nearest, strict=True)]

    def exact(self, query: Vectors, depth: int) -> list[Neighbour]:
        """Return the nearest by exact search, best first, ties by user id."""
        rows = self.main.rows
        near = rows.vectors @ query if len(rows) else np.zeros(0, dtype=np.float32)
        near[self.is_gone] = -np.inf
        best = _best(near, min(depth, len(near) - self.num_gone))
        return self._ranked(query, best, depth)

    def _merged(self, query: Vectors, near: Positions, k: int) -> list[Neighbour] | None:
        if near[-1] < 0:
            near = near[near >= 0]
        left = near[~self.is_gone[near]] if self.num_gone else near
        # If few are left, vectors that the index did not return may be nearer.
        if len(left) < k or 2 * len(left) < len(near):
            return None
        depth = min(k + _SPARE, len(left))
        best = _best(self.main.rows.vectors.take(left, axis=0) @ query, depth)
        return self._ranked(query, np.sort(left[best]), depth)

    def _ranked(self, query: Vectors, positions: Positions, depth: int) -> list[Neighbour]:
        # Empty rows have no dimension to multiply by.
        ranked = _first(self.main.rows, query, positions, depth) if len(positions) else []
        if len(self.recent):
            new = _best(self.recent.vectors @ query, min(depth, len(self.recent)))
            ranked += _first(self.recent, query, new, depth)
            ranked.sort(key=lambda row: (-row.similarity, row.user_id))
        return ranked[:depth]


def _best(near: npt.NDArray[np.float32], depth: int) -> Positions:
    """Positions of the `depth` largest and of all that may equal the last, in order."""
    if depth <= 0:
        return np.zeros(0, dtype=np.int64)
    if depth >= len(near):
        return np.flatnonzero(near > -np.inf)
    last = np.partition(near, len(near) - depth)[len(near) - depth]
    return np.flatnonzero(near >= last - _TIE)


def _first(rows: Rows, query: Vectors, positions: Positions, depth: int) -> list[Neighbour]:
    """The nearest of sorted positions; summed in float64, so that equal vectors come out equal."""
    products = np.multiply(rows.vectors.take(positions, axis=0), query, dtype=np.float64)
    near = products.sum(axis=1)
    order = np.argsort(-near, kind="stable")[:depth]
    chosen = positions[order]
    near = near[order].clip(-1.0, 1.0)
    return [
        Neighbour(user_id.decode(), similarity, sequence)
        for user_id, similarity, sequence in zip(
            rows.user_ids.some(chosen),
            near.tolist(),
            rows.sequences[chosen].tolist(),
            strict=True,
        )
    ]
