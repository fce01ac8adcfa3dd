"""Files and folders that are replaced whole or not at all, by one writer at a time where it holds
the lock."""

import contextlib
import fcntl
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replace_file(path: Path, *, is_only_writer: bool = False) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what is written there takes its place at the end.

    It is flushed to the disk before it is renamed, and so is the new name. If the block raises,
    the temporary file is removed, and what stood at `path` stands.

    Args:
        path: of the file, in a folder that exists.
        is_only_writer: True where one process at a time writes `path`. The temporary file then
            has one name, so that what a killed writer left is written over, not added to.

    Raises:
        OSError: if the file cannot be flushed or renamed.
    """
    unique = "" if is_only_writer else f".{secrets.token_hex(4)}"
    temporary = path.with_name(f".{path.name}{unique}.part")
    try:
        yield temporary
        flush(temporary)
        temporary.replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    flush(path.parent)


@contextlib.contextmanager
def replace_folder(folder: Path) -> Iterator[Path]:
    """Yield a new folder beside `folder`; it takes its place at the end, with all that is in it.

    If the block raises, the new one is removed, and what stood at `folder` stands. The old one goes
    only when the new one stands.

    Args:
        folder: replaced if it is there; what it is to lie in is made.

    Raises:
        OSError: if it cannot be made or renamed.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield work
        work.chmod(0o755)
        old = work.with_name(work.name + ".old")
        if folder.exists():
            folder.replace(old)
        work.replace(folder)
        shutil.rmtree(old, ignore_errors=True)
    except BaseException:
        shutil.rmtree(work, ignore_errors=True)
        raise


@contextlib.contextmanager
def lock_folder(folder: Path, *, waits: bool = True) -> Iterator[None]:
    """Hold a folder's lock against other threads and processes, for as long as the block runs.

    The lock is on the file `.lock` in the folder, which stays there; the system releases it if the
    process is killed.

    Args:
        folder: to be locked.
        waits: whether who comes second waits, or is refused.

    Raises:
        BlockingIOError: if the lock is held and this one does not wait.
        OSError: if the folder is not there or not writable, or its file system has no locks.
    """
    with (folder / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX if waits else fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def flush(path: Path) -> None:
    """Have the system write a file or folder to the disk.

    Raises:
        OSError: if there is none, or the disk fails.
    """
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
