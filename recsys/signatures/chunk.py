"""The work of one chunk of a backfill: users with the names of their images -> signatures.

It needs no database and changes nothing, so whoever distributes a backfill calls the same function
elsewhere and stores what it returns.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

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
    users: Sequence[SignatureInput],
    model: SignatureModel,
    references: ReadReferences,
    *,
    batch_size: int = 1,
) -> ChunkResult:
    """Compute the signatures of some users. Pure but for reading images, one user's at a time.

    A user whose images or arithmetic fail is left out, and the rest stands. A batch that fails is
    halved until it is known whose failure it is: a lack of memory on a GPU is nobody's.

    Args:
        users: whom; each once.
        model: computes vectors from decoded references.
        references: decodes a user's pairs.
        batch_size: users whom the model reads together, at least 1; so many users' images are in
            memory.

    Raises:
        Unavailable: if `MAX_ERRORS_IN_A_ROW` users fail one after another by errors of the model
            or of the store of images: then it is hardly the users.
        MemoryError: if there is no memory left.
    """
    results: list[Signature | LeftOut] = []
    partly_read: set[str] = set()
    num_errors = 0
    for user, readable, vector in _computed(users, model, references, batch_size):
        if isinstance(vector, Exception):
            results.append(_failed(user, f"{type(vector).__name__}: {vector}", _state_of(vector)))
            num_errors += 1
            if num_errors == MAX_ERRORS_IN_A_ROW:
                raise Unavailable(
                    f"{num_errors} users in a row cannot be computed, the last one for"
                    f" {type(vector).__name__} ({vector}): look after that and run again, what is"
                    " stored stands"
                ) from vector
            continue
        results.append(_signed(user, vector, model.model_version))
        num_errors = 0
        if len(readable) < len(user.pairs):
            partly_read.add(user.user_id)
    signatures = tuple(each for each in results if isinstance(each, Signature))
    left_out = tuple(each for each in results if isinstance(each, LeftOut))
    return ChunkResult(
        signatures, left_out, frozenset(partly_read) & {each.user_id for each in signatures}
    )


_Vector = npt.NDArray[np.float32]


def _computed(
    users: Sequence[SignatureInput],
    model: SignatureModel,
    references: ReadReferences,
    batch_size: int,
) -> Iterator[tuple[SignatureInput, Sequence[Any], _Vector | Exception | None]]:
    """Each user with what could be read of them and their vector; None if there is nothing."""
    for batch in (users[at : at + batch_size] for at in range(0, len(users), batch_size)):
        read = [_read(user, references) for user in batch]
        full = [each for each in read if not isinstance(each, Exception) and each]
        vectors = iter(_vectors(full, model))
        for user, each in zip(batch, read, strict=True):
            if isinstance(each, Exception):
                yield user, (), each
            else:
                yield user, each, next(vectors) if each else None


def _read(user: SignatureInput, references: ReadReferences) -> Sequence[Any] | Exception:
    try:
        return references(user.pairs) if user.pairs else ()
    except MemoryError:
        raise
    except Exception as error:
        return error


def _vectors(users: Sequence[Sequence[Any]], model: SignatureModel) -> list[_Vector | Exception]:
    """Of each user's references the vector, or why there is none."""
    try:
        if len(users) > 1:
            return [*model.read_many(users)]
        return [model.read(user) for user in users]
    except MemoryError:
        raise
    except Exception as error:
        if len(users) == 1:
            return [error]
    # Out of the handler, or the error would hold on to the memory that its pass took.
    half = len(users) // 2
    return _vectors(users[:half], model) + _vectors(users[half:], model)


def _signed(user: SignatureInput, vector: _Vector | None, version: str) -> Signature | LeftOut:
    if not user.pairs:
        return LeftOut(user.user_id, user.revision, BackfillState.SKIPPED, NO_PAIR)
    if vector is None:
        newest = user.pairs[-1]
        return _failed(
            user,
            "a signature needs a choice whose liked and passed-over image can be read, and there is"
            f" none among {counted(len(user.pairs), 'reference')}, the newest of {newest.liked} and"
            f" {newest.disliked}: restore the images",
        )
    if not np.isfinite(vector).all():
        return _failed(user, "the signature is not finite")
    return Signature(user.user_id, version, user.revision, vector)


def _failed(
    user: SignatureInput, error: str, state: BackfillState = BackfillState.FAILED
) -> LeftOut:
    return LeftOut(user.user_id, user.revision, state, error)


def _state_of(error: Exception) -> BackfillState:
    is_outage = isinstance(error, Unavailable | StorageUnavailable)
    return BackfillState.UNAVAILABLE if is_outage else BackfillState.FAILED
