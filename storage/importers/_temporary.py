"""A temporary SQLite database, so that what an import must remember does not grow its memory."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager

from storage.errors import StorageFull


@contextmanager
def temporary_database() -> Iterator[sqlite3.Connection]:
    """Open a database that goes when the block ends.

    Raises:
        StorageFull: if the folder for temporary files has no room left.
    """
    try:
        # An empty name: a private file, in memory while small, gone when closed.
        with closing(sqlite3.connect("", isolation_level=None)) as connection:
            connection.executescript("PRAGMA cache_size = -16384; PRAGMA journal_mode = OFF;")
            connection.execute("BEGIN")
            yield connection
    except sqlite3.OperationalError as error:
        if "full" not in str(error):
            raise
        raise StorageFull(
            "the folder for temporary files has no room left: free some, or name another by TMPDIR"
        ) from error
