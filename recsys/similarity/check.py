"""Rows of an index become answers: SQL is asked of each, until enough of them stand."""

from collections.abc import Iterator, Sequence
from itertools import islice

from recsys.similarity.kinds import Vectors
from recsys.similarity.rows import IndexView, Neighbour
from storage.signatures import SignatureStore

_DEEPER = 8


def tries(
    view: IndexView, query: Vectors, quick: list[Neighbour] | None, wanted: int
) -> Iterator[list[Neighbour]]:
    """Longer and longer lists of the nearest; the last one has everybody.

    Args:
        view: what is searched.
        query: shape (E,).
        quick: the index's list, where it has one.
        wanted: the least to begin with.
    """
    if quick is not None:
        yield quick
    depth = wanted
    while depth < view.size:
        yield view.exact(query, depth)
        depth *= _DEEPER
    yield view.exact(query, view.size)


class Answers:
    """What SQL says of the rows that a search came across; each user is asked for once.

    Args:
        store: the truth.
        model_version: of the rows.
        k: how many are wanted for a query.
        exclude: users that are not wanted.

    Attributes:
        dead: rows whose user SQL has no more, or has with another vector.
    """

    def __init__(
        self, store: SignatureStore, model_version: str, k: int, exclude: frozenset[str]
    ) -> None:
        self._store = store
        self._model_version = model_version
        self._k = k
        self._exclude = exclude
        self._sequences: dict[str, int | None] = {}
        self.dead: set[Neighbour] = set()

    def ask(self, rows: Sequence[Neighbour]) -> None:
        """Ask SQL for those that it has not been asked for."""
        new = sorted({row.user_id for row in rows} - self._sequences.keys() - self._exclude)
        if new:
            known = self._store.sequences(self._model_version, new)
            self._sequences |= {user_id: known.get(user_id) for user_id in new}

    def first(self, lists: Iterator[list[Neighbour]]) -> list[Neighbour]:
        """The first k that stand, of the first list that has so many or else of the last."""
        found: list[Neighbour] = []
        for rows in lists:
            found = list(islice(self._standing(rows), self._k))
            if len(found) == self._k:
                break
        return found

    def _standing(self, rows: Sequence[Neighbour]) -> Iterator[Neighbour]:
        start, size = 0, self._k + len(self._exclude)
        while start < len(rows):
            part = rows[start : start + size]
            self.ask(part)
            yield from (row for row in part if self._stands(row))
            start, size = start + size, 2 * size

    def _stands(self, row: Neighbour) -> bool:
        if row.user_id in self._exclude:
            return False
        stands = self._sequences[row.user_id] == row.sequence
        if not stands:
            self.dead.add(row)
        return stands
