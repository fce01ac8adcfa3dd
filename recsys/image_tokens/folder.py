"""Image tokens on disk: a folder of safetensors, shared by processes, bounded in bytes.

folder/<version>/<first 2 digits>/<sha256>.safetensors

The version is a digest of all that decides image tokens (`recsys.scorer.token_version`), so that
models which see alike share files, and others never meet. A file is written beside its place and
renamed. One that is damaged is removed and counts as not there. When the folder is full, the files
that were not asked for longest go first, whatever their version.
"""

import contextlib
import logging
import os
import re
import secrets
import tempfile
import time
import zlib
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from recsys.errors import SettingsRefused

logger = logging.getLogger(__name__)

FindStored = Callable[[Collection[str]], Collection[str]]
"""Of some images, by SHA-256, those that are stored; blocks."""

_SUFFIX = ".safetensors"
_PART = ".part"
_TOKENS, _CHECKSUM = "tokens", "crc32"
_OS_ERROR = re.compile(r"\(os error (\d+)\)")
_NAME = re.compile(r"[0-9a-f]{64}" + re.escape(_SUFFIX))  # never an original's, which has no suffix
_VERSION_CHARACTERS = 16
_FILLED_TO = 0.9  # after room was made
_LOOKS = 20  # at the whole folder while as much is written as it may hold
_ABANDONED_S = 3600.0


class TokenFolder:
    """Image tokens of one version in a folder that other versions and processes use, too.

    Args:
        path: of the folder; created when something is written.
        version: of the tokens; none where files are only removed.
        max_bytes: what the files of all versions may take, at least 1. Several processes that
            write at once may exceed it by a twentieth each.

    Raises:
        ValueError: if `max_bytes` is less than 1.
    """

    def __init__(self, path: Path, version: str = "", *, max_bytes: int = 2**63) -> None:
        if max_bytes < 1:
            raise ValueError(f"max_bytes must be at least 1, got {max_bytes}")
        self.path = path
        self.max_bytes = max_bytes
        self._of_version = path / version[:_VERSION_CHARACTERS]
        self._num_bytes: int | None = None
        self._written_since = 0

    @property
    def num_bytes(self) -> int:
        """What all files take, bytes, as of the last look and with what was written since."""
        if self._num_bytes is None:
            self._num_bytes = sum(size for _, size, _ in self._files())
        return self._num_bytes

    def __contains__(self, sha256: str) -> bool:
        """Whether there is a file for an image."""
        return self._file(sha256).is_file()

    def read(self, sha256: str) -> Float[Tensor, "T D"] | None:
        """Tokens of an image, or None; a file that is damaged is removed."""
        path = self._file(sha256)
        try:
            with safe_open(path, framework="pt") as file:
                tokens: Tensor = file.get_tensor(_TOKENS)
                if (file.metadata() or {}).get(_CHECKSUM) != _checksum(tokens):
                    raise ValueError("its bytes are not those that were written")
            os.utime(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.warning("image tokens in %s cannot be read: %s", path, error)
            return None
        except (ValueError, RuntimeError, SafetensorError) as error:
            logger.warning("image tokens in %s are damaged and dropped: %s", path, error)
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
            return None
        return tokens

    def write(self, sha256: str, tokens: Float[Tensor, "T D"]) -> None:
        """Keep tokens of an image, and make room if the folder is full.

        Raises:
            OSError: if they cannot be written.
        """
        path = self._file(sha256)
        path.parent.mkdir(parents=True, exist_ok=True)
        before = self.num_bytes
        part = path.with_name(f".{sha256}.{secrets.token_hex(4)}{_PART}")
        try:
            # Not flushed to the disk: after a loss of power the checksum tells.
            save_file({_TOKENS: tokens.contiguous()}, part, {_CHECKSUM: _checksum(tokens)})
            size = part.stat().st_size
            part.replace(path)
        except SafetensorError as error:  # of the disk, as an error of its own
            raise _of_disk(error) from error
        finally:
            part.unlink(missing_ok=True)
        self._num_bytes = before + size
        self._written_since += size
        if self._num_bytes > self.max_bytes or self._written_since > self.max_bytes / _LOOKS:
            self._make_room()

    def forget(self, sha256s: Collection[str]) -> None:
        """Remove tokens of some images, in all versions.

        Raises:
            OSError: if a file cannot be removed.
        """
        for sha256 in sha256s:
            for version in self._folders(self.path):
                (version / sha256[:2] / f"{sha256}{_SUFFIX}").unlink(missing_ok=True)

    def forget_gone(self, stored: FindStored) -> int:
        """Remove tokens of images that are not stored, and what killed writers left.

        Args:
            stored: tells which are.

        Returns:
            How many images were forgotten.

        Raises:
            OSError: if a file cannot be removed.
            Exception: whatever `stored` raised; nothing is removed then.
        """
        names = {path.name.removesuffix(_SUFFIX) for path, _, _ in self._files()}
        gone = names - set(stored(names)) if names else set()
        self.forget(gone)
        self._num_bytes = None
        return len(gone)

    def _file(self, sha256: str) -> Path:
        return self._of_version / sha256[:2] / f"{sha256}{_SUFFIX}"

    def _make_room(self) -> None:
        files = sorted(self._files(), key=lambda file: file[2])
        num_bytes = sum(size for _, size, _ in files)
        if num_bytes > self.max_bytes:
            for path, size, _ in files:
                if num_bytes <= _FILLED_TO * self.max_bytes:
                    break
                path.unlink(missing_ok=True)
                num_bytes -= size
        self._num_bytes, self._written_since = num_bytes, 0

    def _files(self) -> Iterator[tuple[Path, int, float]]:
        """Path, bytes and time of the last use of each file; parts of dead writers are removed."""
        for version in self._folders(self.path):
            for folder in self._folders(version):
                for path in folder.iterdir():
                    with contextlib.suppress(FileNotFoundError):  # another process was faster
                        status = path.stat()
                        if _NAME.fullmatch(path.name):
                            yield path, status.st_size, status.st_mtime
                        elif path.suffix == _PART and time.time() - status.st_mtime > _ABANDONED_S:
                            path.unlink(missing_ok=True)

    def _folders(self, path: Path) -> Sequence[Path]:
        try:
            return [each for each in path.iterdir() if each.is_dir()]
        except FileNotFoundError:
            return []


def opened_folder(path: Path, version: str, *, max_bytes: int) -> TokenFolder:
    """A folder to write to, made if it is not there.

    Raises:
        SettingsRefused: if it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            return TokenFolder(path, version, max_bytes=max_bytes)
    except OSError as error:
        raise SettingsRefused(
            f"image_tokens_folder must be one that can be written to, got {path}: {error}"
        ) from error


def _of_disk(error: SafetensorError) -> OSError:
    """The system's own error, whose number stands in the text of safetensors'."""
    found = _OS_ERROR.search(str(error))
    return (
        OSError(str(error)) if found is None else OSError(int(found[1]), os.strerror(int(found[1])))
    )


def _checksum(tokens: Tensor) -> str:
    data = tokens.contiguous().reshape(-1).view(torch.uint8).numpy().data
    return f"{zlib.crc32(data):08x}"
