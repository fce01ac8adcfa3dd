"""Stored or sent images, decoded in the model's size. All of this blocks: call it in threads."""

import logging
from typing import Protocol, runtime_checkable

from recsys.images.decode import ImageLimits, decode
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
    """

    def __init__(
        self, images: StoredImages, limits: ImageLimits, geometry: ImageGeometry | None = None
    ) -> None:
        self._images = images
        self._limits = limits
        self._geometry = geometry

    def read(self, sha256: str) -> ImagePixels:
        """Decode a stored image, shape (3, h, w).

        Raises:
            UnknownImage: if it is not stored.
            ImageRefused: as `decode`.
        """
        return self.decode(self._images.image(sha256))

    def decode(self, data: bytes) -> ImagePixels:
        """Decode encoded bytes, shape (3, h, w): RGB bytes, or in [0, 1] where it was shrunk.

        Raises:
            ImageRefused: if they are not an acceptable image.
        """
        pixels = decode(data, self._limits)
        return pixels if self._geometry is None else shrunk(pixels, self._geometry)

    def read_or_none(self, sha256: str) -> ImagePixels | None:
        """Decode a stored image of a reference; None where it cannot be read, which is logged."""
        try:
            return self.read(sha256)
        except Exception:
            # Of any kind: the user's other references still count.
            logger.warning("image %s of a reference cannot be read", sha256, exc_info=True)
            return None
