"""Signatures of the model that is served, and the index to search them in."""

import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

from recsys.errors import Unavailable
from recsys.reasons import Reason
from recsys.signatures.records import CurrentSignature
from recsys.signatures.refresh import CurrentSignatures

if TYPE_CHECKING:
    from recsys.similarity.index import SignatureIndex

_PATIENCE_S = 2.0
"""How long a call waits for the index: longer, and calls that wait would keep others out."""


class Similarity:
    """Reads signatures, and opens the index beside the service; its methods block.

    Args:
        current: signatures as of now, computed on the model's thread.
        open_index: opens the index; called in a thread, again if it failed.
        patience_s: how long a call waits for an index that is being built, seconds.
    """

    def __init__(
        self,
        current: CurrentSignatures,
        open_index: "Callable[[], SignatureIndex]",
        *,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._current = current
        self._open_index = open_index
        self._patience_s = patience_s
        self._lock = threading.Lock()
        self._opening: Future[SignatureIndex] | None = None
        self._builder = ThreadPoolExecutor(1, thread_name_prefix="recsys-index")

    @property
    def model_version(self) -> str:
        """Of the signatures."""
        return self._current.model_version

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
            raise Unavailable(
                "the index of signatures is being built: call again later",
                reason=Reason.INDEX_BUILDING,
            ) from error

    def drop_erased(self) -> None:
        """Have an index that is open drop who was erased, as `SignatureIndex.drop_erased`."""
        with self._lock:
            opening = self._opening
        if opening is None or not opening.done() or opening.cancelled():
            return  # it will be opened without them
        if opening.exception() is None:
            opening.result().drop_erased()

    def close(self) -> None:
        """End the thread; an opening that runs ends by itself."""
        self._builder.shutdown(wait=False, cancel_futures=True)

    def _begun(self) -> "Future[SignatureIndex]":
        with self._lock:
            opening = self._opening
            has_failed = opening is not None and opening.done() and bool(opening.exception())
            if opening is None or has_failed:
                opening = self._opening = self._builder.submit(self._open_index)
            return opening
