"""Stored or sent images for the model: their tokens where these are kept, else decoded pixels.

All of this blocks: call it in threads.
"""

import hashlib
import logging
from collections.abc import Callable
from functools import partial
from typing import Protocol, runtime_checkable

from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import ImageLimits, decode, inspect
from recsys.images.known import KnownImage, ModelImage
from recsys.images.preprocess import ImageGeometry, ImagePixels, shrunk

logger = logging.getLogger(__name__)


@runtime_checkable
class StoredImages(Protocol):
    """What is needed of `storage.histories.HistoryStore`."""

    def image(self, sha256: str) -> bytes:
        """Return the encoded bytes; raises UnknownImage."""


class ImageReader:
    """Reads and decodes images.

    Args:
        images: stored images by SHA-256.
        limits: of each image, bytes and pixels.
        geometry: the model's. Images that are far larger are brought to its size right away, so
            that requests that wait hold no large tensors. None: left as they are.
        tokens: where the model's image tokens are kept; None: nowhere.
    """

    def __init__(
        self,
        images: StoredImages,
        limits: ImageLimits,
        geometry: ImageGeometry | None = None,
        *,
        tokens: ImageTokenCache | None = None,
    ) -> None:
        self._images = images
        self._limits = limits
        self._geometry = geometry
        self._tokens = tokens

    def read(self, sha256: str) -> ModelImage:
        """Read a stored image.

        Raises:
            UnknownImage: if it is not stored.
            ImageRefused: as `decode`.
        """
        if self._tokens is not None and not self._tokens.is_stored(sha256):
            return _decoded(self._images.image(sha256), self._limits, self._geometry)
        return self._read(sha256)

    def read_or_none(self, sha256: str) -> ModelImage | None:
        """Read a stored image of a reference; None where it cannot be read, which is logged."""
        try:
            return self._read(sha256)
        except Exception:
            # Of any kind: the user's other references still count.
            logger.warning("image %s of a reference cannot be read", sha256, exc_info=True)
            return None

    def decode(self, data: bytes) -> ModelImage:
        """Take encoded bytes; as `image_of`."""
        return image_of(data, self._limits, self._geometry, tokens=self._tokens)

    def _read(self, sha256: str) -> ModelImage:
        read = partial(self._images.image, sha256)
        if self._tokens is None:
            return _decoded(read(), self._limits, self._geometry)
        decoded = partial(_decoded, limits=self._limits, geometry=self._geometry)
        return _known(self._tokens, sha256, read, decoded)


def image_of(
    data: bytes,
    limits: ImageLimits,
    geometry: ImageGeometry | None = None,
    *,
    tokens: ImageTokenCache | None = None,
) -> ModelImage:
    """Take encoded bytes: the tokens that are kept of them, or RGB, shape (3, h, w).

    Args:
        data: PNG, JPEG or WebP.
        limits: of bytes and pixels.
        geometry, tokens: as of `ImageReader`.

    Raises:
        ImageRefused: if they are not an acceptable image.
    """
    if tokens is None:
        return _decoded(data, limits, geometry)
    sha256 = inspect(data, limits).sha256
    decoded = partial(_decoded, limits=limits, geometry=geometry)
    return _known(tokens, sha256, lambda: data, decoded)


def _known(
    kept: ImageTokenCache,
    sha256: str,
    read: Callable[[], bytes],
    decoded: Callable[[bytes], ImagePixels],
) -> ModelImage:
    since = kept.num_forgotten  # before anything of the image is read
    tokens = kept.get(sha256)
    if tokens is not None:
        return KnownImage(tokens=tokens)
    data = read()
    pixels = decoded(data)
    if hashlib.sha256(data).hexdigest() != sha256:
        return pixels  # damaged in storage: nothing of it belongs under this name
    return KnownImage(pixels, keep=partial(kept.put, sha256, since=since))


def _decoded(data: bytes, limits: ImageLimits, geometry: ImageGeometry | None) -> ImagePixels:
    pixels = decode(data, limits)
    return pixels if geometry is None else shrunk(pixels, geometry)
