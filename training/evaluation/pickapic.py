"""Pick-a-Pic's official test files, imported apart from what is stored and learned from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.identity_keys import KeySource
from storage.importers.pickapic import import_pickapic
from storage.records import InspectImage


@contextmanager
def imported_apart(
    files: Sequence[Path], keys: KeySource, *, inspect: InspectImage
) -> Iterator[HistoryStore]:
    """A store of these files' choices alone, in a folder of its own that is gone afterwards.

    Args:
        files: Parquet files with the published columns.
        keys: those that tell whom a checkpoint learned from; users keep the data set's numbers.
        inspect: checks images; rows with one that it refuses are left out.

    Raises:
        FileNotFoundError, InvalidSource: as `import_pickapic`.
    """
    with TemporaryDirectory(prefix="recsys-test-files-") as folder:
        database = Database(f"sqlite:///{folder}/recsys.db")
        try:
            upgrade(database)
            store = HistoryStore(database, BlobStore(f"file://{folder}/blobs"), keys)
            import_pickapic(files, store, inspect=inspect)
            yield store
        finally:
            database.dispose()
