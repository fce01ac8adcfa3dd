"""Stored or sent images -> what the model reads. All of this blocks: call it in threads."""

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from functools import partial
from typing import Protocol, runtime_checkable

from torch import Tensor

from recsys.errors import ImageRefused
from recsys.history import ReferencePair
from recsys.images.decode import ImageLimits, decode
from recsys.images.preprocess import ImageGeometry, resize
from recsys.ranking.candidates import Candidate, CandidateStatus, RankedCandidate
from recsys.scorer.model import CandidateImage, Reference
from storage.errors import UnknownImage

logger = logging.getLogger(__name__)


@runtime_checkable
class StoredImages(Protocol):
    """What is needed of `storage.histories.HistoryStore`."""

    def image(self, sha256: str) -> bytes:
        """Return the encoded bytes; raises UnknownImage."""


class ImageReader:
    """Reads and decodes the images of candidates and references.

    Args:
        images: stored images by SHA-256.
        limits: of each image, bytes and pixels.
        geometry: the model's. Images are brought to its size right away, so that requests that
            wait hold no large tensors; the model then finds nothing to resize. None: left as
            they are.
    """

    def __init__(
        self, images: StoredImages, limits: ImageLimits, geometry: ImageGeometry | None = None
    ) -> None:
        self._images = images
        self._limits = limits
        self._geometry = geometry

    def candidate_image(self, candidate: Candidate) -> CandidateImage | RankedCandidate:
        """Decode a candidate, or say why it cannot be ranked."""
        failed = partial(RankedCandidate, candidate.id, None, None)
        try:
            return CandidateImage(self._pixels(candidate), candidate.prompt)
        except ImageRefused as error:
            return failed(CandidateStatus.INVALID_IMAGE, str(error))
        except UnknownImage:
            message = f"no stored image has the SHA-256 {candidate.sha256}: send its bytes"
            return failed(CandidateStatus.IMAGE_NOT_FOUND, message)

    def references(self, pairs: Sequence[ReferencePair], threads: Executor) -> list[Reference]:
        """Decode references, oldest first, leaving out those with an image that cannot be read.

        Args:
            pairs: whose images to read, each image once.
            threads: to read in; not those that this is called in, or it may wait for itself.
        """
        names = image_names(pairs)
        return pair_up(pairs, dict(zip(names, threads.map(self.stored_image, names), strict=True)))

    def _pixels(self, candidate: Candidate) -> Tensor:
        data = candidate.image
        if data is None:
            assert candidate.sha256 is not None  # check_request has seen to it
            data = self._images.image(candidate.sha256)
        return self._decode(data)

    def stored_image(self, sha256: str) -> Tensor | None:
        """Decode a stored image of a reference; None where it cannot be read, which is logged."""
        try:
            return self._decode(self._images.image(sha256))
        except Exception:
            # Of any kind: the user's other references still count.
            logger.warning("image %s of a reference cannot be read", sha256, exc_info=True)
            return None

    def _decode(self, data: bytes) -> Tensor:
        pixels = decode(data, self._limits).float() / 255
        return pixels if self._geometry is None else resize(pixels, self._geometry)


def image_names(pairs: Sequence[ReferencePair]) -> list[str]:
    """SHA-256 of the images of some pairs, each once."""
    return list(dict.fromkeys(name for pair in pairs for name in (pair.liked, pair.disliked)))


def pair_up(pairs: Sequence[ReferencePair], images: Mapping[str, Tensor | None]) -> list[Reference]:
    """References of those pairs of which both images could be read, in their order.

    Args:
        pairs: by the names of their images.
        images: by SHA-256, (3, h, w) in [0, 1]; None where one cannot be read.
    """
    references = (_reference(pair, images) for pair in pairs)
    return [each for each in references if each is not None]


def _reference(pair: ReferencePair, images: Mapping[str, Tensor | None]) -> Reference | None:
    liked, disliked = images[pair.liked], images[pair.disliked]
    if liked is None or disliked is None:
        return None
    return Reference(liked, disliked, pair.prompt)
