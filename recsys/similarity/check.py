"""The results of an index, checked against SQL, which is authoritative."""

from collections.abc import Iterator, Sequence
from itertools import islice

from recsys.similarity._exact import Vectors
from recsys.similarity.rows import IndexView, Neighbour
from storage.signatures import SignatureStore

_DEEPER = 8


def growing_results(
    view: IndexView, query: Vectors, approximate: list[Neighbour] | None, wanted: int
) -> Iterator[list[Neighbour]]:
    """Yield longer and longer lists of the nearest; the last one holds all users.

    Args:
        view: what is searched.
        query: shape (E,).
        approximate: the index's own list, if it has one.
        wanted: length of the shortest exact list.
    """
    if approximate is not None:
        yield approximate
    depth = wanted
    while depth < view.size:
        yield view.exact(query, depth)
        depth *= _DEEPER
    yield view.exact(query, view.size)


class CheckedResults:
    """The rows of a search that SQL confirms; each user is looked up once.

    Args:
        store: authoritative.
        model_version: of the rows.
        k: how many are wanted for a query.
        exclude: users to leave out.

    Attributes:
        dead: rows whose user SQL no longer has, or has with another vector.
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

    def look_up(self, rows: Sequence[Neighbour]) -> None:
        """Look up those users in SQL that were not looked up before."""
        new = sorted({row.user_id for row in rows} - self._sequences.keys() - self._exclude)
        if new:
            known = self._store.sequences(self._model_version, new)
            self._sequences |= {user_id: known.get(user_id) for user_id in new}

    def first(self, lists: Iterator[list[Neighbour]]) -> list[Neighbour]:
        """Return the first k valid rows of the first list that has k, or else of the last list."""
        results: list[Neighbour] = []
        for rows in lists:
            results = list(islice(self._valid(rows), self._k))
            if len(results) == self._k:
                break
        return results

    def _valid(self, rows: Sequence[Neighbour]) -> Iterator[Neighbour]:
        start, size = 0, self._k + len(self._exclude)
        while start < len(rows):
            part = rows[start : start + size]
            self.look_up(part)
            yield from (row for row in part if self._is_valid(row))
            start, size = start + size, 2 * size

    def _is_valid(self, row: Neighbour) -> bool:
        if row.user_id in self._exclude:
            return False
        is_valid = self._sequences[row.user_id] == row.sequence
        if not is_valid:
            self.dead.add(row)
        return is_valid
