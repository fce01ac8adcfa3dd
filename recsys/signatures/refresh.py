"""A user's signature as of now: the stored one, or one computed on the spot and stored.

Everything here blocks: call it in threads.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

from recsys.counts import counted
from recsys.errors import PreconditionFailed, Unavailable
from recsys.fields import require_user_id
from recsys.history import SIGNATURE_REFERENCES, HistoryReader, Personalizes
from recsys.reasons import Reason
from recsys.signatures.inputs import NO_PAIR, ReadReferences, SignatureInput, read_input
from recsys.signatures.records import CurrentSignature
from storage.errors import AlreadyErased, InvalidRecord, PersonalizationOff, UnknownUser
from storage.records import Signature, Tombstone

logger = logging.getLogger(__name__)

ComputeVector = Callable[[Sequence[Any]], npt.NDArray[np.float32]]
"""Reads a vector of length 1 from decoded references: `SignatureReader.read`."""


@runtime_checkable
class RevisionReader(HistoryReader, Protocol):
    """What is needed of `storage.histories.HistoryStore`."""

    def revision(self, user_id: str) -> int:
        """Return the number of choices ever stored; 0 for an unknown user."""

    def tombstone(self, user_id: str) -> Tombstone | None:
        """Return when and by whom a user was erased; None if not, or if nobody can tell."""


@runtime_checkable
class UserSignatures(Protocol):
    """What is needed of `storage.signatures.SignatureStore`."""

    def put(self, signature: Signature) -> None:
        """Store a vector, unless one of a later revision is there; raises InvalidRecord.

        It does where the vector may be read from what was removed from the choices since.
        """

    def get(self, user_id: str, model_version: str) -> Signature | None:
        """Return a user's vector, if there is one."""


@runtime_checkable
class LedgerReader(Protocol):
    """What is needed of `storage.backfill_ledger.BackfillLedger`."""

    def still_stored(self, choice_ids: Sequence[int]) -> set[int]:
        """Return those of these choices that are still stored."""


@dataclass(frozen=True)
class CurrentSignatures:
    """Keeps the signatures that are asked for up to date.

    Attributes:
        histories: what users chose.
        signatures: where vectors are stored.
        ledger: tells whose history still stands.
        model_version: of the vectors.
        compute: reads a vector from references.
        references: decodes a user's pairs; leaves out what cannot be read.
        num_references: how many a signature reads; at least 1.
        personalizes: whether a user lets a signature be read.
    """

    histories: RevisionReader
    signatures: UserSignatures
    ledger: LedgerReader
    model_version: str
    compute: ComputeVector
    references: ReadReferences
    num_references: int = SIGNATURE_REFERENCES
    _: KW_ONLY
    personalizes: Personalizes

    def of(self, user_id: str) -> CurrentSignature:
        """Return a user's signature; computed and stored if it is missing or stale.

        Where a stale one cannot be computed anew, it is returned as it is, and says so.

        Args:
            user_id: 1 to 256 characters, no control characters.

        Raises:
            InvalidRequest: if no user could have this id.
            UnknownUser: if there is no such user; AlreadyErased if they were erased.
            PersonalizationOff: if the user does not want to be personalised.
            PreconditionFailed: if there is none and the history has no pair that can be read.
            Unavailable: if there is none and images or the model cannot be reached now.
        """
        require_user_id(user_id)
        if not self.personalizes(user_id):
            raise PersonalizationOff(user_id)
        revision = self.histories.revision(user_id)
        if revision == 0:
            raise self._unknown(user_id)
        stored = self.signatures.get(user_id, self.model_version)
        if stored is not None and stored.revision >= revision:
            return CurrentSignature(stored, is_stale=False)
        try:
            return self._computed(user_id)
        except (PreconditionFailed, Unavailable):
            if stored is None:
                raise
            logger.warning("a stale signature is served: it cannot be computed", exc_info=True)
            return CurrentSignature(stored, is_stale=True)

    def _computed(self, user_id: str) -> CurrentSignature:
        user = read_input(self.histories, user_id, self.num_references)
        if user is None:
            raise self._unknown(user_id)
        self._store(user, self._vector(user))
        stored = self.signatures.get(user_id, self.model_version)
        if stored is None:
            raise self._unknown(user_id)
        return CurrentSignature(stored, self.histories.revision(user_id) > stored.revision)

    def _vector(self, user: SignatureInput) -> npt.NDArray[np.float32]:
        if not user.pairs:
            raise PreconditionFailed(
                f"a signature needs a choice with a liked and a passed-over image, and of user"
                f" {user.user_id!r} {NO_PAIR}: record one first",
                reason=Reason.NO_REFERENCES,
            )
        readable = self.references(user.pairs)
        if not readable:
            raise PreconditionFailed(
                "a signature needs a choice whose liked and passed-over image can be read, and user"
                f" {user.user_id!r} has none among {counted(len(user.pairs), 'reference')}:"
                " restore the images, or record another choice",
                reason=Reason.NO_REFERENCES,
            )
        vector = self.compute(readable)
        if not np.isfinite(vector).all():
            raise ArithmeticError("a signature must be finite, got one that is not")
        return vector

    def _store(self, user: SignatureInput, vector: npt.NDArray[np.float32]) -> None:
        """Store it, unless the user was erased meanwhile: then it is of choices that are gone."""
        if not self.ledger.still_stored([user.newest_choice_id]):
            raise self._unknown(user.user_id)
        signature = Signature(user.user_id, self.model_version, user.revision, vector)
        try:
            self.signatures.put(signature)
        except InvalidRecord as error:
            raise Unavailable(
                "the history changed while the signature was computed: call again"
            ) from error

    def _unknown(self, user_id: str) -> UnknownUser:
        if self.histories.tombstone(user_id) is None:
            return UnknownUser(f"no user {user_id!r} is stored: record a choice first")
        return AlreadyErased(
            f"user {user_id!r} was erased: they have no signature, and no choice of theirs is kept"
        )
