"""Signatures and the index of the model that is served; opened beside it, waited for briefly."""

import threading
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from recsys.engine.engine import ScoringEngine
from recsys.errors import Unavailable
from recsys.history import SIGNATURE_REFERENCES
from recsys.images.decode import ImageLimits
from recsys.images.preprocess import ImageGeometry
from recsys.signatures.definition import SignatureModel
from recsys.signatures.inputs import decoding
from recsys.signatures.records import CurrentSignature
from recsys.signatures.refresh import CurrentSignatures
from storage.backfill_ledger import BackfillLedger
from storage.histories import HistoryStore
from storage.signatures import SignatureStore

if TYPE_CHECKING:
    from recsys.similarity.index import SignatureIndex

_PATIENCE_S = 2.0
"""How long a call waits for the index: longer, and calls that wait would keep others out."""

_NUM_DECODERS = 2


class Similarity:
    """Reads signatures on the model's thread and searches the index; its methods block.

    Args:
        engine: whose thread computes; started.
        signature_model: of the same model.
        store: of choices and images.
        limits: of each image, bytes and pixels.
        num_references: how many references a signature reads.
        geometry: the model's; None: images are left in their own size.
        folder: of the index's snapshots; None: none are read or written.
        patience_s: how long a call waits for an index that is being built, seconds.
    """

    def __init__(
        self,
        engine: ScoringEngine,
        signature_model: SignatureModel,
        store: HistoryStore,
        *,
        limits: ImageLimits,
        num_references: int = SIGNATURE_REFERENCES,
        geometry: ImageGeometry | None = None,
        folder: Path | None = None,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self.model_version = signature_model.model_version
        self._engine = engine
        self._signature_model = signature_model
        self._folder = folder
        self._patience_s = patience_s
        self._decoders = ThreadPoolExecutor(_NUM_DECODERS, thread_name_prefix="recsys-decode")
        self._signatures = SignatureStore(store.database)
        self._current = CurrentSignatures(
            store,
            self._signatures,
            BackfillLedger(store.database),
            signature_model.model_version,
            self._compute,
            decoding(store, limits, self._decoders, geometry=geometry),
            num_references=max(num_references, 1),
        )
        self._lock = threading.Lock()
        self._opening: Future[SignatureIndex] | None = None
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="recsys-index")

    def signature_of(self, user_id: str) -> CurrentSignature:
        """Return a user's signature; raises as `CurrentSignatures.of`."""
        return self._current.of(user_id)

    def prepare(self) -> None:
        """Begin to open the index, unless that was begun; does not block."""
        self._begun()

    def index(self) -> "SignatureIndex":
        """Return the index.

        Raises:
            Unavailable: if it is being built for longer than a call should wait.
            Exception: whatever opening it raised; the next call tries again.
        """
        opening = self._begun()
        try:
            return opening.result(self._patience_s)
        except (TimeoutError, CancelledError) as error:
            if opening.done() and not opening.cancelled():
                raise  # its own
            raise Unavailable("the index of signatures is being built: call again later") from error

    def close(self) -> None:
        """End the threads; what runs ends by itself."""
        for pool in (self._builder, self._decoders):
            pool.shutdown(wait=False, cancel_futures=True)

    def _begun(self) -> "Future[SignatureIndex]":
        with self._lock:
            opening = self._opening
            has_failed = opening is not None and opening.done() and bool(opening.exception())
            if opening is None or has_failed:
                opening = self._opening = self._builder.submit(self._opened)
            return opening

    def _opened(self) -> "SignatureIndex":
        from recsys.similarity.index import SignatureIndex

        return SignatureIndex(self._signatures, self.model_version, folder=self._folder)

    def _compute(self, references: Sequence[Any]) -> npt.NDArray[np.float32]:
        return self._engine.compute(self._signature_model.read, references)
