"""One run at a time in a folder: two would replace each other's states."""

import errno
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from storage.files import lock_folder
from training.fitting.parallel import Processes
from training.fitting.trainer import ONE

_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)


@contextmanager
def sole_run(folder: Path, processes: Processes = ONE) -> Iterator[None]:
    """Keep other runs out of a folder, for as long as the block runs or until it is killed.

    A file system without locks keeps nobody out.

    Args:
        folder: of the run, made if it is not there.
        processes: those that share the run; the main one alone takes the lock, for all.

    Raises:
        ValueError: if another run is using the folder.
        OSError: if it cannot be made or written to.
    """
    with ExitStack() as held:
        if processes.is_main:
            folder.mkdir(parents=True, exist_ok=True)
            _take(folder, held)
        yield


def _take(folder: Path, held: ExitStack) -> None:
    try:
        held.enter_context(lock_folder(folder, waits=False))
    except BlockingIOError as error:
        raise ValueError(
            f"another run is using {folder}: wait for it or give another folder"
        ) from error
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
