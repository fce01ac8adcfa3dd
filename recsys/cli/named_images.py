"""Images named on a command line: a file, or the SHA-256 of a stored image."""

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from recsys.errors import InvalidRequest, NotFound
from recsys.recording import ImageSource
from storage.rules import is_sha256


@dataclass(frozen=True, slots=True)
class NamedImage:
    """An image as a person named it; exactly one of `data` and `sha256` is given.

    Attributes:
        name: what was typed.
        data: encoded bytes of a file, unchecked; never more than the limit and one byte.
        sha256: of a stored image.
    """

    name: str
    data: bytes | None = field(default=None, repr=False)
    sha256: str | None = None

    @property
    def source(self) -> ImageSource:
        """Its bytes, or the SHA-256 by which it is stored."""
        if self.data is not None:
            return self.data
        assert self.sha256 is not None  # one of both is given
        return self.sha256


def read_images(names: tuple[str, ...], *, max_bytes: int) -> list[NamedImage]:
    """Read the files that a person named.

    Args:
        max_bytes: what an image may have; of a longer file no more than a byte above is read.

    Raises:
        InvalidRequest: if a name is given twice.
        NotFound: if a name is neither a file nor a SHA-256.
    """
    repeated = next((name for name in names if names.count(name) > 1), None)
    if repeated is not None:
        raise InvalidRequest(f"each image must be given once, got {repeated} twice")
    return [_read(name, max_bytes) for name in names]


def digest_of(name: str) -> str:
    """Return the SHA-256 of an image that a person named.

    Raises:
        NotFound: if the name is neither a file nor a SHA-256.
    """
    path = Path(name)
    if path.is_file():
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    if is_sha256(name) and not path.exists():
        return name
    raise _not_there(name)


def _read(name: str, max_bytes: int) -> NamedImage:
    path = Path(name)
    if path.is_file():
        with path.open("rb") as file:
            return NamedImage(name, data=file.read(max_bytes + 1))
    if is_sha256(name) and not path.exists():
        return NamedImage(name, sha256=name)
    raise _not_there(name)


def _not_there(name: str) -> NotFound:
    state = "is a folder" if Path(name).is_dir() else "does not exist"
    return NotFound(f"{name} {state}: give an image file or a stored image's SHA-256")
