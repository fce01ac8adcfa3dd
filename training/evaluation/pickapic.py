"""Pick-a-Pic's official test files, imported apart from what is stored and learned from."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from recsys.runtime import Runtime
from recsys.settings import Settings
from storage.importers.pickapic import import_pickapic


@contextmanager
def imported_apart(files: Sequence[Path], settings: Settings) -> Iterator[Runtime]:
    """Storage of these files' choices alone, in a folder of its own that is gone afterwards.

    Image tokens of the files' images are kept in memory and, where the settings name a folder for
    them, on disk in the folder that goes: those of stored images stay as they are.

    Args:
        files: Parquet files with the published columns; rows with an image that is refused are
            left out.
        settings: all others. The identity keys among them tell whom a checkpoint learned from;
            users keep the data set's numbers.

    Raises:
        FileNotFoundError, InvalidSource: as `import_pickapic`.
    """
    with TemporaryDirectory(prefix="recsys-test-files-") as folder:
        apart: dict[str, str] = {
            "database_url": f"sqlite:///{folder}/recsys.db",
            "blob_url": f"file://{folder}/blobs",
        }
        if settings.image_tokens_folder is not None:
            apart["image_tokens_folder"] = f"{folder}/image-tokens"
        with Runtime(settings.model_copy(update=apart), creates=True) as runtime:
            import_pickapic(files, runtime.store, inspect=runtime.inspect_image)
            yield runtime
