"""Image tokens in memory, least recently used first out, in front of an optional folder on disk.

A takedown or an erasure must reach what is kept. In memory, whoever computes tokens notes
`num_forgotten` before reading the image, as for `recsys.engine.caches.PrefixCache`. On disk, where
other processes write too, only tokens of stored images are kept, and after they are written it is
asked once more whether the image is stored: whichever comes first, the removal of its row or this
question, the file does not stay.
"""

import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from cachetools import Cache, LRUCache
from jaxtyping import Float
from torch import Tensor

from recsys.image_tokens.folder import FindStored, TokenFolder

logger = logging.getLogger(__name__)

_MIB = 2**20
_CLOSING_S = 10.0
_MAX_WAITING = 256
"""Images that wait to be written; more are not, for a slow disk is to hold nothing up."""


@dataclass(frozen=True, slots=True)
class TokenStats:
    """What the cache has done so far, and holds now.

    Attributes:
        num_memory_hits: images whose tokens were in memory.
        num_disk_hits: images whose tokens were on disk.
        num_misses: images that had to be encoded.
        num_entries: images whose tokens are in memory.
        memory_bytes: what these take.
        disk_bytes: what files take, of all processes; 0 without a folder.
    """

    num_memory_hits: int
    num_disk_hits: int
    num_misses: int
    num_entries: int
    memory_bytes: int
    disk_bytes: int


@dataclass(frozen=True, eq=False, slots=True)
class _KeptTokens:
    tokens: Tensor
    kept_at: float


class ImageTokenCache:
    """Tokens of images by SHA-256, of one model; safe to use from several threads.

    Args:
        max_bytes: of tokens in memory, at least 0; 0 keeps none there.
        folder: keeps them on disk, too; None: memory alone.
        stored: tells which images are stored.
        clock: seconds that never go back.

    Raises:
        ValueError: if `max_bytes` is negative.
    """

    def __init__(
        self,
        max_bytes: int,
        *,
        folder: TokenFolder | None = None,
        stored: FindStored,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be at least 0, got {max_bytes}: pass 0 to keep none")
        self.folder = folder
        self._stored = stored
        self._clock = clock
        self._entries: LRUCache[str, _KeptTokens] = LRUCache(
            max_bytes, getsizeof=lambda entry: _num_bytes(entry.tokens)
        )
        self._lock = threading.Lock()
        self._num_forgotten = 0
        self._num_memory_hits = self._num_disk_hits = self._num_misses = 0
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="recsys-image-tokens")
        self._writing: set[Future[None]] = set()
        self._has_failed = False  # at the last write; the writer's thread alone looks at it

    def __str__(self) -> str:
        """How much is kept where."""
        memory = f"{self._entries.maxsize / _MIB:,.1f} MiB in memory"
        if self.folder is None:
            return f"{memory}, none on disk"
        most, there = self.folder.max_bytes / _MIB, self.folder.num_bytes / _MIB
        return f"{memory}, {there:,.1f} of {most:,.1f} MiB on disk in {self.folder.path}"

    @property
    def num_forgotten(self) -> int:
        """Grows whenever something is forgotten; to be read before an image is, for `put`."""
        return self._num_forgotten

    def is_stored(self, sha256: str) -> bool:
        """Ask storage whether an image is there; blocks."""
        return sha256 in self._stored([sha256])

    def get(self, sha256: str) -> Float[Tensor, "T D"] | None:
        """Tokens of an image, on the CPU, or None; reads the disk where they are there."""
        with self._lock:
            since = self._num_forgotten
            entry = self._entries.get(sha256)
            tokens = None if entry is None else entry.tokens
            self._num_memory_hits += tokens is not None
        if tokens is None and self.folder is not None:
            tokens = self.folder.read(sha256)
            with self._lock:
                self._num_disk_hits += tokens is not None
                if tokens is not None and since == self._num_forgotten:
                    self._keep(sha256, tokens)
        if tokens is None:
            with self._lock:
                self._num_misses += 1
        return tokens

    def put(self, sha256: str, tokens: Float[Tensor, "T D"], *, since: int) -> None:
        """Keep tokens of an image; on disk soon, and only if the image is stored.

        Args:
            sha256: of the encoded bytes that they were made of.
            tokens: on any device; copied.
            since: `num_forgotten` from before the image was read. If anything was forgotten since,
                they are not kept: it may have been this image.
        """
        copied = tokens.detach().cpu().clone()
        with self._lock:
            if since != self._num_forgotten:
                return
            self._keep(sha256, copied)
            if self.folder is None or len(self._writing) >= _MAX_WAITING:
                return
            writing = self._writer.submit(self._write, self.folder, sha256, copied)
            self._writing.add(writing)
        writing.add_done_callback(self._written)

    def forget_gone(self, *, sent_for_s: float = 0.0) -> int:
        """Drop tokens of images that are not stored, and what is being computed now; blocks.

        Args:
            sent_for_s: leave those in memory that were kept less than so many seconds ago: of
                images that are sent again and again, and never stored.

        Returns:
            How many images were forgotten.

        Raises:
            OSError: if a file cannot be removed.
            Exception: whatever asking storage raised; nothing is dropped then.
        """
        with self._lock:
            self._num_forgotten += 1
            kept = set(self._entries)
        gone = kept - set(self._stored(kept)) if kept else set()
        until = self._clock() - sent_for_s
        with self._lock:
            gone = {each for each in gone if self._kept_until(each, until)}
            for sha256 in gone:
                del self._entries[sha256]
        on_disk = 0 if self.folder is None else self.folder.forget_gone(self._stored)
        return max(len(gone), on_disk)

    def _kept_until(self, sha256: str, until: float) -> bool:
        """Whether an entry is there that was kept by then; it counts as no use of it."""
        return sha256 in self._entries and Cache.__getitem__(self._entries, sha256).kept_at <= until

    def flush(self) -> None:
        """Wait until what was put so far is on disk."""
        with self._lock:
            writing = set(self._writing)
        wait(writing)

    def close(self) -> None:
        """End the thread, once what waits is written; a disk that hangs is not waited for long."""
        with self._lock:
            writing = set(self._writing)
        wait(writing, timeout=_CLOSING_S)
        self._writer.shutdown(wait=False, cancel_futures=True)

    def stats(self) -> TokenStats:
        """Count what has happened so far."""
        with self._lock:
            return TokenStats(
                num_memory_hits=self._num_memory_hits,
                num_disk_hits=self._num_disk_hits,
                num_misses=self._num_misses,
                num_entries=len(self._entries),
                memory_bytes=int(self._entries.currsize),
                disk_bytes=0 if self.folder is None else self.folder.num_bytes,
            )

    def _keep(self, sha256: str, tokens: Tensor) -> None:
        if _num_bytes(tokens) <= self._entries.maxsize:
            self._entries[sha256] = _KeptTokens(tokens, self._clock())

    def _written(self, writing: Future[None]) -> None:
        with self._lock:
            self._writing.discard(writing)

    def _write(self, folder: TokenFolder, sha256: str, tokens: Tensor) -> None:
        """On the writer's thread, so that no model waits for a disk or a database."""
        try:
            if sha256 in folder or not self.is_stored(sha256):
                return
            folder.write(sha256, tokens)
            if not self.is_stored(sha256):
                folder.forget([sha256])
            self._has_failed = False
        except Exception as error:
            self._tell_once(error)
            self._forget_quietly(folder, sha256)

    def _tell_once(self, error: Exception) -> None:
        """Log a failure to write unless the write before failed, too: a full disk fails for all."""
        if not self._has_failed:
            logger.warning(
                "tokens of images are not kept on disk: %s; they are made anew when needed",
                _reason(error),
            )
        self._has_failed = True

    def _forget_quietly(self, folder: TokenFolder, sha256: str) -> None:
        try:
            folder.forget([sha256])
        except OSError as error:
            logger.warning("tokens of image %s may be left on disk: %s", sha256, _reason(error))


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror is not None:
        return error.strerror.lower()
    return (str(error).splitlines() or [type(error).__name__])[0]


def _num_bytes(tokens: Tensor) -> int:
    return tokens.numel() * tokens.element_size()
