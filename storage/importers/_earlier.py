"""What was stored before an import began, and what of it the import has met."""

import sqlite3
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager

from storage.datasets import choice_ids_of, remove_from, set_aside, users_with_others
from storage.histories import HistoryStore
from storage.importers._temporary import temporary_database
from storage.records import Appended

MAX_KNOWN = 500
"""Users whose other choices are not looked for again: some 100 bytes each."""

REMOVED_AT_ONCE = 200


class EarlierChoices:
    """The choices of a data set that an import has not met yet; see `earlier_choices`.

    They are kept in a temporary file, so that memory grows neither with them nor with the import.

    Args:
        connection: of a temporary database.
        store: where choices go.
        dataset: that is imported.
    """

    def __init__(self, connection: sqlite3.Connection, store: HistoryStore, dataset: str) -> None:
        self._connection = connection
        self._store = store
        self._dataset = dataset
        self._known: set[str] = set()
        connection.execute("CREATE TABLE merged (user_id TEXT PRIMARY KEY) WITHOUT ROWID")
        connection.execute("CREATE TABLE unmet (choice_id INTEGER PRIMARY KEY)")
        for choice_ids in choice_ids_of(store.database, dataset):
            connection.executemany("INSERT INTO unmet VALUES (?)", [(each,) for each in choice_ids])

    def note_merged(self, user_ids: set[str]) -> None:
        """Take note of who of these users, whom the import gave choices, has others besides."""
        if len(self._known) > MAX_KNOWN:
            self._known.clear()
        new = user_ids - self._known
        self._known |= new
        merged = users_with_others(self._store.database, self._dataset, new)
        rows = [(user_id,) for user_id in merged]
        self._connection.executemany("INSERT OR IGNORE INTO merged VALUES (?)", rows)

    def num_merged(self) -> int:
        """Count the users whom the import gave choices, and who have others besides."""
        return int(self._connection.execute("SELECT count(*) FROM merged").fetchone()[0])

    def meet(self, answers: Sequence[Appended]) -> None:
        """Take note of what was repeated."""
        met = [(answer.stored.choice_id,) for answer in answers if answer.repeated]
        self._connection.executemany("DELETE FROM unmet WHERE choice_id = ?", met)

    def is_unmet(self, choice_id: int) -> bool:
        """Tell whether a choice was stored before, and not repeated since."""
        query = "SELECT 1 FROM unmet WHERE choice_id = ?"
        return self._connection.execute(query, (choice_id,)).fetchone() is not None

    def num_unmet(self) -> int:
        """Count the choices that were stored before, and not repeated since."""
        return int(self._connection.execute("SELECT count(*) FROM unmet").fetchone()[0])

    def set_aside(self, choice_ids: Collection[int]) -> None:
        """Let other choices be stored under the request ids of these, which stay unmet."""
        set_aside(self._store.database, choice_ids)

    def remove_unmet(self) -> int:
        """Remove what was not met, in bounded transactions; return how many choices went."""
        num_removed, after = 0, 0
        while unmet := self._unmet_after(after):
            database, blobs = self._store.database, self._store.blobs
            num_removed += remove_from(database, blobs, self._dataset, unmet).num_choices
            after = unmet[-1]
        self._connection.execute("DELETE FROM unmet")
        return num_removed

    def _unmet_after(self, choice_id: int) -> list[int]:
        query = "SELECT choice_id FROM unmet WHERE choice_id > ? ORDER BY choice_id LIMIT ?"
        return [each for (each,) in self._connection.execute(query, (choice_id, REMOVED_AT_ONCE))]


@contextmanager
def earlier_choices(store: HistoryStore, dataset: str) -> Iterator[EarlierChoices]:
    """Look at what is stored of a data set now.

    Raises:
        StorageFull: if the folder for temporary files has no room left.
    """
    with temporary_database() as connection:
        yield EarlierChoices(connection, store, dataset)
