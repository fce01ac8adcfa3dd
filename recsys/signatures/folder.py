"""The folder of a checkpoint's signature part: which files are there."""

import hashlib
from pathlib import Path

FOLDER = "signature"


def probe_name(number: int) -> str:
    """The file of a probe image, by its place from 0."""
    return f"{number:02}.image"


def probe_digests(checkpoint: Path) -> set[str]:
    """SHA-256 of each probe image, as it was stored; none where there is no signature part.

    Raises:
        OSError: if one cannot be read.
    """
    images = sorted((checkpoint / FOLDER).glob("*.image"))
    return {hashlib.sha256(path.read_bytes()).hexdigest() for path in images}
