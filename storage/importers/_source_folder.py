"""The folder that choices are imported from."""

import errno
from pathlib import Path

from storage.errors import InvalidSource


def require_folder(path: Path, contents: str) -> None:
    """Pass only when a path is a folder.

    Args:
        path: as the caller named it.
        contents: the names of the files that it should hold, for the message.

    Raises:
        FileNotFoundError: if there is nothing at the path.
        InvalidSource: if there is something else.
    """
    if not path.exists():
        raise FileNotFoundError(errno.ENOENT, "No such folder", str(path))
    if not path.is_dir():
        raise InvalidSource(f"{path} must be a folder with {contents}, got a file")


def not_there(contents: str, folder: Path) -> FileNotFoundError:
    """Return the error for files that a folder should hold."""
    return FileNotFoundError(errno.ENOENT, f"No {contents} there", str(folder))
