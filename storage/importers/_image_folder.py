"""Images that a source names: found inside its folder, and nowhere else; read and checked."""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

from storage.importers.report import Refusal
from storage.records import ImageFacts, InspectImage

MAX_FILE_BYTES = 256 * 2**20
"""A file above this is not read to be judged; far above what any image limit lets pass."""

IMAGE_BLOCKED = "the image is blocked"
"""Why a row is left out that shows an image which was taken down."""

MAX_REMEMBERED = 1000
"""Images whose facts are kept: some 350 bytes each."""


class ImageFolder:
    """A folder whose files may be read.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()

    def find(self, name: str) -> Path:
        """The file of a relative name.

        Raises:
            Refusal: if the name is absolute, has `..` in it, or leads out of the folder by a link.
        """
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts:
            raise Refusal("image path leads out of the folder", repr(name))
        try:
            resolved = (self._root / path).resolve()
        except (OSError, ValueError, RuntimeError) as error:  # NUL, half a surrogate, a link loop
            raise Refusal("image path cannot be used", repr(name)) from error
        if not resolved.is_relative_to(self._root):
            raise Refusal("image path leads out of the folder", f"{name!r} is a link")
        return resolved

    def find_any(self, stem: str, suffixes: Sequence[str]) -> Path:
        """The first file there is of a name with one of several suffixes.

        Raises:
            Refusal: as `find`, or if there is none.
        """
        try:
            return next(path for suffix in suffixes if (path := self.find(stem + suffix)).exists())
        except StopIteration:
            raise Refusal("image file is missing", repr(stem + suffixes[0])) from None
        except OSError as error:
            raise Refusal("image path cannot be used", repr(stem)) from error


def remembering(inspect: InspectImage) -> InspectImage:
    """Check an image once while it keeps coming back: a check may decode it, a digest is cheap.

    Only what passed is remembered, at most `MAX_REMEMBERED` images, those seen last.
    """
    known: OrderedDict[bytes, ImageFacts] = OrderedDict()

    def remembered(data: bytes) -> ImageFacts:
        digest = hashlib.sha256(data).digest()
        facts = known[digest] if digest in known else inspect(data)
        known[digest] = facts
        known.move_to_end(digest)
        if len(known) > MAX_REMEMBERED:
            known.popitem(last=False)
        return facts

    return remembered


def check_image(data: bytes, inspect: InspectImage, *, name: str = "") -> ImageFacts:
    """Look at an encoded image.

    Raises:
        Refusal: if `inspect` refuses it.
    """
    try:
        return inspect(data)
    except ValueError as error:
        detail = f"{name}: {error}" if name else str(error)
        raise Refusal("the image cannot be used", detail) from error


def read_image_file(path: Path) -> bytes:
    """Read an image file whole.

    Raises:
        Refusal: if there is none, or it is too large or cannot be read.
    """
    try:
        if not path.exists():
            raise Refusal("image file is missing", str(path))
        if not path.is_file():
            raise Refusal("image path is not a file", str(path))
        num_bytes = path.stat().st_size
        if num_bytes > MAX_FILE_BYTES:
            raise Refusal("image file is too large", f"{path} has {num_bytes:,} bytes")
        return path.read_bytes()
    except OSError as error:
        raise Refusal("image file cannot be read", f"{path}: {error.strerror}") from error
