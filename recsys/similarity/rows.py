"""Users, sequences and vectors of one model version as immutable arrays, in the order of user ids.

A view is what a search reads: one large part with an index and one small part with what has come
since. Changes make another view, so that searches that are under way go on undisturbed.
"""

import time
from bisect import bisect_left
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from recsys.similarity.kinds import MAX_K, Candidates, Positions, Vectors

_SPARE = 4  # neighbours beyond those wanted, should SQL have no more of some
_TIE = 1e-5  # float32 sums of one vector may differ by so much

Bytes = npt.NDArray[np.uint8]
Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """Another user with a near signature.

    Attributes:
        user_id: who.
        similarity: cosine of the two signatures, in [-1, 1].
        sequence: under which the vector was put.
    """

    user_id: str
    similarity: float
    sequence: int


@dataclass(frozen=True, eq=False)
class UserIds:
    """Ids in growing order as one row of UTF-8 bytes.

    Attributes:
        text: all ids, one behind the other.
        ends: shape (N + 1,): where each begins, and the end of the last.
    """

    text: Bytes
    ends: Positions

    @staticmethod
    def of(user_ids: Sequence[str]) -> "UserIds":
        """Pack ids that are in growing order."""
        encoded = [user_id.encode() for user_id in user_ids]
        ends = np.zeros(len(encoded) + 1, dtype=np.int64)
        np.cumsum([len(each) for each in encoded], out=ends[1:])
        return UserIds(np.frombuffer(b"".join(encoded), dtype=np.uint8), ends)

    def __len__(self) -> int:
        """How many there are."""
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
        """The position of an id; -1: not there."""
        sought = user_id.encode()
        position = bisect_left(self, sought)
        return position if position < len(self) and self[position] == sought else -1


@dataclass(frozen=True, eq=False)
class Rows:
    """N users, in growing order of ids.

    Attributes:
        user_ids: N.
        sequences: shape (N,), int64, under which the vector was put.
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
        """Put users in order; of one that comes twice the later is kept."""
        last = dict(zip(user_ids, range(len(user_ids)), strict=True))
        kept = sorted(last)
        places = np.array([last[user_id] for user_id in kept], dtype=np.int64)
        return Rows(UserIds.of(kept), sequences[places], vectors[places])

    @staticmethod
    def empty() -> "Rows":
        """Nobody."""
        return Rows.of([], np.zeros(0, dtype=np.int64), np.zeros((0, 0), dtype=np.float32))

    def __len__(self) -> int:
        """How many there are."""
        return len(self.user_ids)

    @property
    def dimension(self) -> int | None:
        """E; None while there is nobody."""
        return int(self.vectors.shape[1]) if len(self) else None

    def positions(self, user_ids: Sequence[str]) -> Positions:
        """Where those are of these users who are here."""
        found = (self.user_ids.find(user_id) for user_id in user_ids)
        return np.array([position for position in found if position >= 0], dtype=np.int64)

    def taken(self, kept: Positions | Flags) -> "Rows":
        """Some of them, in this order."""
        ids = self.user_ids.some(np.arange(len(self))[kept])
        return Rows(
            UserIds.of([each.decode() for each in ids]), self.sequences[kept], self.vectors[kept]
        )

    def names(self) -> list[str]:
        """All ids."""
        return [each.decode() for each in self.user_ids.some(np.arange(len(self)))]


@dataclass(frozen=True, eq=False)
class Main:
    """The large part, which is replaced as a whole.

    Attributes:
        rows: of all users at `sequence`.
        sequence: the model version's last one when they were read.
        candidates: finds near ones; None: comparing with all is as good.
        read_at: when the reading began, in seconds since 1970.
    """

    rows: Rows
    sequence: int
    candidates: Candidates | None
    read_at: float = field(default_factory=time.time)


@dataclass(frozen=True, eq=False)
class IndexView:
    """All that is known at one moment.

    Attributes:
        main: the large part.
        is_gone: shape (N,): rows of main whose user was erased or has another vector by now.
        num_gone: how many those are.
        recent: put since main was read; the same users' rows in main are gone.
        sequence: the last one that is known.
    """

    main: Main
    is_gone: Flags
    num_gone: int
    recent: Rows
    sequence: int

    @staticmethod
    def of(main: Main) -> "IndexView":
        """Main alone."""
        is_gone = np.zeros(len(main.rows), dtype=np.bool_)
        return IndexView(main, is_gone, 0, Rows.empty(), main.sequence)

    @property
    def size(self) -> int:
        """How many users can be found."""
        return len(self.main.rows) - self.num_gone + len(self.recent)

    @property
    def num_changed(self) -> int:
        """Changes since main was built; erasures that no search has met do not count."""
        return self.num_gone + len(self.recent)

    @property
    def dimension(self) -> int | None:
        """E; None while there is nobody."""
        return self.main.rows.dimension or self.recent.dimension

    def with_changes(self, changed: Rows, sequence: int) -> "IndexView":
        """Take users' new vectors, whose sequences are all behind this view's."""
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
        """Leave out rows that SQL has no more; rows put since stay."""
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

    def quick(self, queries: Vectors, k: int) -> "list[list[Neighbour] | None]":
        """What is probably nearest of each query, by the index; None: it cannot tell enough.

        Args:
            queries: shape (N, E).
            k: how many are wanted; more come where there are.
        """
        candidates = self.main.candidates
        if candidates is None or k > MAX_K:
            return [None] * len(queries)
        found = candidates.nearest(queries, k)
        return [self._merged(query, near, k) for query, near in zip(queries, found, strict=True)]

    def exact(self, query: Vectors, depth: int) -> list[Neighbour]:
        """The nearest by comparing with all, best first, equal ones by user id."""
        rows = self.main.rows
        near = rows.vectors @ query if len(rows) else np.zeros(0, dtype=np.float32)
        near[self.is_gone] = -np.inf
        best = _best(near, min(depth, len(near) - self.num_gone))
        return self._ranked(query, best, depth)

    def _merged(self, query: Vectors, near: Positions, k: int) -> list[Neighbour] | None:
        if near[-1] < 0:
            near = near[near >= 0]
        left = near[~self.is_gone[near]] if self.num_gone else near
        # Among few that are left, those that the index did not look at may be nearer.
        if len(left) < k or 2 * len(left) < len(near):
            return None
        depth = min(k + _SPARE, len(left))
        best = _best(self.main.rows.vectors.take(left, axis=0) @ query, depth)
        return self._ranked(query, np.sort(left[best]), depth)

    def _ranked(self, query: Vectors, positions: Positions, depth: int) -> list[Neighbour]:
        # Nobody's vectors have no dimension to multiply by.
        ranked = _first(self.main.rows, query, positions, depth) if len(positions) else []
        if len(self.recent):
            new = _best(self.recent.vectors @ query, min(depth, len(self.recent)))
            ranked += _first(self.recent, query, new, depth)
            ranked.sort(key=lambda row: (-row.similarity, row.user_id))
        return ranked[:depth]


def _best(near: npt.NDArray[np.float32], depth: int) -> Positions:
    """Positions of the `depth` largest and of all that may equal the last, growing."""
    if depth <= 0:
        return np.zeros(0, dtype=np.int64)
    if depth >= len(near):
        return np.flatnonzero(near > -np.inf)
    last = np.partition(near, len(near) - depth)[len(near) - depth]
    return np.flatnonzero(near >= last - _TIE)


def _first(rows: Rows, query: Vectors, positions: Positions, depth: int) -> list[Neighbour]:
    """The nearest of growing positions; sums in float64, for equal vectors must come out equal."""
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
