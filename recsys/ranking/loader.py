"""Images for the event loop: read and decoded in threads that wait for nothing but storage."""

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from recsys.errors import ImageRefused
from recsys.history import ReferencePair
from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import ImageLimits
from recsys.images.known import ModelImage
from recsys.images.preprocess import ImageGeometry
from recsys.images.reader import ImageReader, StoredImages
from recsys.ranking.candidates import Candidate, CandidateStatus, RankedCandidate
from recsys.reasons import Reason
from recsys.scorer.model import CandidateImage, Reference
from recsys.scorer.references import image_names, pair_up
from storage.errors import UnknownImage

Loaded = TypeVar("Loaded")


class ImageLoader:
    """Reads and decodes for all requests; cancelling an awaited call drops what has not begun.

    Args:
        images: stored images by SHA-256.
        limits: of each image, bytes and pixels.
        geometry: as of `ImageReader`.
        tokens: likewise.
        num_threads: images that are read at the same time; at least 1.
    """

    def __init__(
        self,
        images: StoredImages,
        limits: ImageLimits,
        geometry: ImageGeometry | None = None,
        *,
        tokens: ImageTokenCache | None = None,
        num_threads: int = 4,
    ) -> None:
        self._reader = ImageReader(images, limits, geometry, tokens=tokens)
        self._threads = ThreadPoolExecutor(num_threads, thread_name_prefix="recsys-decode")

    async def run(self, function: Callable[..., Loaded], *args: Any) -> Loaded:
        """Run what blocks in one of the threads; it must not wait for another of them."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, function, *args)

    def read_candidate(self, candidate: Candidate) -> CandidateImage | RankedCandidate:
        """Decode a candidate, or say why it cannot be ranked; blocks, for `run`."""
        failed = partial(RankedCandidate, candidate.id, None, None)
        try:
            return CandidateImage(self._image(candidate), candidate.prompt)
        except ImageRefused as error:
            return failed(CandidateStatus.INVALID_IMAGE, str(error), error.reason)
        except UnknownImage:
            message = f"no stored image has the SHA-256 {candidate.sha256}: send its bytes"
            return failed(CandidateStatus.IMAGE_NOT_FOUND, message, Reason.IMAGE_NOT_FOUND)

    def _image(self, candidate: Candidate) -> ModelImage:
        if candidate.image is not None:
            return self._reader.decode(candidate.image)
        assert candidate.sha256 is not None  # check_request has seen to it
        return self._reader.read(candidate.sha256)

    async def references(self, pairs: Sequence[ReferencePair]) -> list[Reference]:
        """Decode references, oldest first, leaving out those with an image that cannot be read.

        Args:
            pairs: whose images to read, each image once.
        """
        names = image_names(pairs)
        images = await asyncio.gather(
            *(self.run(self._reader.read_or_none, name) for name in names)
        )
        return pair_up(pairs, dict(zip(names, images, strict=True)))

    def close(self) -> None:
        """End the threads; after the engine is drained, for it loads references here."""
        self._threads.shutdown(wait=False, cancel_futures=True)
