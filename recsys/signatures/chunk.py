"""The work of one chunk of a backfill: users with the names of their images -> signatures.

It needs no database and changes nothing, so whoever distributes a backfill calls the same function
elsewhere and stores what it returns.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from recsys.errors import Unavailable
from recsys.history import ReferencePair
from storage.backfill_ledger import BackfillState
from storage.errors import StorageUnavailable, UnknownImage
from storage.records import Signature

MAX_ERRORS_IN_A_ROW = 16
"""Users of a chunk who fail one after another by errors that are hardly their own."""

NO_PAIR = "no choice both likes an image and passes one over"

ReadReferences = Callable[[Sequence[ReferencePair]], Sequence[Any]]
"""Decodes the pairs' images; leaves out pairs with an image that cannot be read."""


@runtime_checkable
class Signing(Protocol):
    """What is needed of `recsys.signatures.reader.SignatureReader`."""

    @property
    def model_version(self) -> str:
        """Digest of all that decides a signature."""

    def read(self, references: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Return the vector of a user with these references."""


@runtime_checkable
class StoredImages(Protocol):
    """What is needed of `storage.histories.HistoryStore`."""

    def image(self, sha256: str) -> bytes:
        """Return the encoded bytes; raises UnknownImage."""


@dataclass(frozen=True, slots=True)
class ChunkUser:
    """A user as a chunk holds them: names of images, no pixels.

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


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A user without a signature.

    Attributes:
        user_id: whose.
        revision: of the history that was read.
        state: SKIPPED when the history holds nothing to read, UNAVAILABLE when images could not be
            asked for, FAILED otherwise.
        error: why.
    """

    user_id: str
    revision: int
    state: BackfillState
    error: str


@dataclass(frozen=True, slots=True)
class ChunkResult:
    """What became of a chunk.

    Attributes:
        signatures: of those who have one now.
        left_out: all others.
        partly_read: users among `signatures` with references whose images cannot be read.
    """

    signatures: tuple[Signature, ...]
    left_out: tuple[LeftOut, ...]
    partly_read: frozenset[str] = frozenset()


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
            raise Unavailable(f"the store of images fails: {error}") from error


def compute_chunk(
    users: Sequence[ChunkUser], signing: Signing, references: ReadReferences
) -> ChunkResult:
    """Compute the signatures of some users. Pure but for reading images, one user's at a time.

    A user whose images or arithmetic fail is left out, and the rest stands.

    Args:
        users: whom; each once.
        signing: computes a vector from decoded references.
        references: decodes a user's pairs.

    Raises:
        Unavailable: if `MAX_ERRORS_IN_A_ROW` users fail one after another by errors of the model
            or of the store of images: then it is hardly the users.
        MemoryError: if there is no memory left.
    """
    found: list[Signature | LeftOut] = []
    partly_read: set[str] = set()
    num_errors = 0
    for user in users:
        try:
            readable = references(user.pairs) if user.pairs else ()
            found.append(_sign(user, readable, signing))
            num_errors = 0
        except MemoryError:
            raise
        except Exception as error:
            found.append(_failed(user, f"{type(error).__name__}: {error}", _state_of(error)))
            num_errors += 1
            if num_errors == MAX_ERRORS_IN_A_ROW:
                raise Unavailable(
                    f"{num_errors} users in a row cannot be computed, the last one for"
                    f" {type(error).__name__} ({error}): look after that and run again, what is"
                    " stored stands"
                ) from error
        else:
            if len(readable) < len(user.pairs):
                partly_read.add(user.user_id)
    signatures = tuple(each for each in found if isinstance(each, Signature))
    left_out = tuple(each for each in found if isinstance(each, LeftOut))
    return ChunkResult(
        signatures, left_out, frozenset(partly_read) & {each.user_id for each in signatures}
    )


def _sign(user: ChunkUser, readable: Sequence[Any], signing: Signing) -> Signature | LeftOut:
    if not user.pairs:
        return LeftOut(user.user_id, user.revision, BackfillState.SKIPPED, NO_PAIR)
    if not readable:
        newest = user.pairs[-1]
        return _failed(
            user,
            f"none of the {len(user.pairs)} references has two images that can be read, the newest"
            f" is of {newest.liked} and {newest.disliked}",
        )
    vector = signing.read(readable)
    if not np.isfinite(vector).all():
        return _failed(user, "the signature is not finite")
    return Signature(user.user_id, signing.model_version, user.revision, vector)


def _failed(user: ChunkUser, error: str, state: BackfillState = BackfillState.FAILED) -> LeftOut:
    return LeftOut(user.user_id, user.revision, state, error)


def _state_of(error: Exception) -> BackfillState:
    is_outage = isinstance(error, Unavailable | StorageUnavailable)
    return BackfillState.UNAVAILABLE if is_outage else BackfillState.FAILED
