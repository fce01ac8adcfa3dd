"""What a signature is computed from: a user's newest pairs, and their images.

The signature of one user and the backfill of everybody's stand on this.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

from recsys.errors import Unavailable
from recsys.history import HistoryReader, ReferencePair, read_history, references_of
from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import ImageLimits
from recsys.images.preprocess import ImageGeometry
from recsys.images.reader import ImageReader, StoredImages
from recsys.reasons import Reason
from recsys.scorer.references import read_references
from storage.errors import UnknownImage

NO_PAIR = "no choice both likes an image and passes one over"

ReadReferences = Callable[[Sequence[ReferencePair]], Sequence[Any]]
"""Decodes the pairs' images; leaves out pairs with an image that cannot be read."""


@dataclass(frozen=True, slots=True)
class SignatureInput:
    """A user as a signature is computed from: names of images, no pixels.

    Attributes:
        user_id: whose.
        revision: of the history that was read.
        newest_choice_id: of that history; tells whether the user was erased since.
        pairs: what the model is to read, oldest first; may be none.
    """

    user_id: str
    revision: int
    newest_choice_id: int
    pairs: tuple[ReferencePair, ...]


def read_input(
    histories: HistoryReader, user_id: str, num_references: int
) -> SignatureInput | None:
    """Read what a user's signature is computed from; None for an unknown user."""
    history = read_history(histories, user_id, num_references)
    if not history.choices:
        return None
    pairs = references_of(history, num_references)
    return SignatureInput(user_id, history.revision, history.choices[-1].choice_id, pairs)


class WatchedImages:
    """Stored images, and whether the store itself failed: such a failure is not the image's.

    An image that is not there, or is none, costs a user that reference. But a signature must not be
    made of fewer references because a disk or a network did not answer.

    Args:
        images: where they are.
    """

    def __init__(self, images: StoredImages) -> None:
        self._images = images
        self._error: Exception | None = None

    def image(self, sha256: str) -> bytes:
        """Return the encoded bytes; raises UnknownImage."""
        try:
            return self._images.image(sha256)
        except UnknownImage:
            raise
        except Exception as error:
            self._error = error
            raise

    def check(self) -> None:
        """Pass only if every image asked for since the last check was read or is not there.

        Raises:
            Unavailable: if the store failed; tells why.
        """
        error, self._error = self._error, None
        if error is not None:
            raise Unavailable(
                f"the store of images fails: {error}", reason=Reason.STORAGE_UNAVAILABLE
            ) from error


def decoding(
    images: StoredImages,
    limits: ImageLimits,
    threads: Executor,
    *,
    geometry: ImageGeometry | None = None,
    tokens: ImageTokenCache | None = None,
) -> ReadReferences:
    """Return how to decode a user's references; it raises Unavailable when the store fails.

    Args:
        images: stored ones.
        limits: of each image, bytes and pixels.
        threads: to read in; not those that it is called in.
        geometry: the model's; None: images are left in their own size.
        tokens: where the model's image tokens are kept; None: nowhere.
    """

    def references(pairs: Sequence[ReferencePair]) -> Sequence[Any]:
        watched = WatchedImages(images)  # for this user alone: others may be read meanwhile
        reader = ImageReader(watched, limits, geometry, tokens=tokens)
        readable = read_references(pairs, reader, threads)
        watched.check()
        return readable

    return references
