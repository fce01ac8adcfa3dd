"""The work of one chunk of a backfill: users with the names of their images -> signatures.

It needs no database and changes nothing, so whoever distributes a backfill calls the same function
elsewhere and stores what it returns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from recsys.counts import counted
from recsys.errors import Unavailable
from recsys.signatures.definition import SignatureModel
from recsys.signatures.inputs import NO_PAIR, ReadReferences, SignatureInput
from storage.backfill_ledger import BackfillState
from storage.errors import StorageUnavailable
from storage.records import Signature

MAX_ERRORS_IN_A_ROW = 16
"""Users of a chunk who fail one after another by errors that are hardly their own."""


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


def compute_chunk(
    users: Sequence[SignatureInput], model: SignatureModel, references: ReadReferences
) -> ChunkResult:
    """Compute the signatures of some users. Pure but for reading images, one user's at a time.

    A user whose images or arithmetic fail is left out, and the rest stands.

    Args:
        users: whom; each once.
        model: computes a vector from decoded references.
        references: decodes a user's pairs.

    Raises:
        Unavailable: if `MAX_ERRORS_IN_A_ROW` users fail one after another by errors of the model
            or of the store of images: then it is hardly the users.
        MemoryError: if there is no memory left.
    """
    results: list[Signature | LeftOut] = []
    partly_read: set[str] = set()
    num_errors = 0
    for user in users:
        try:
            readable = references(user.pairs) if user.pairs else ()
            results.append(_sign(user, readable, model))
            num_errors = 0
        except MemoryError:
            raise
        except Exception as error:
            results.append(_failed(user, f"{type(error).__name__}: {error}", _state_of(error)))
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
    signatures = tuple(each for each in results if isinstance(each, Signature))
    left_out = tuple(each for each in results if isinstance(each, LeftOut))
    return ChunkResult(
        signatures, left_out, frozenset(partly_read) & {each.user_id for each in signatures}
    )


def _sign(
    user: SignatureInput, readable: Sequence[Any], model: SignatureModel
) -> Signature | LeftOut:
    if not user.pairs:
        return LeftOut(user.user_id, user.revision, BackfillState.SKIPPED, NO_PAIR)
    if not readable:
        newest = user.pairs[-1]
        return _failed(
            user,
            "a signature needs a choice whose liked and passed-over image can be read, and there is"
            f" none among {counted(len(user.pairs), 'reference')}, the newest of {newest.liked} and"
            f" {newest.disliked}: restore the images",
        )
    vector = model.read(readable)
    if not np.isfinite(vector).all():
        return _failed(user, "the signature is not finite")
    return Signature(user.user_id, model.model_version, user.revision, vector)


def _failed(
    user: SignatureInput, error: str, state: BackfillState = BackfillState.FAILED
) -> LeftOut:
    return LeftOut(user.user_id, user.revision, state, error)


def _state_of(error: Exception) -> BackfillState:
    is_outage = isinstance(error, Unavailable | StorageUnavailable)
    return BackfillState.UNAVAILABLE if is_outage else BackfillState.FAILED
