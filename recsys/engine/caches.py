"""User prefixes kept warm: least recently used goes first, bounded in bytes, erasure is final.

One user has at most one entry per model version: a newer history revision takes the place of the
older one, which is not asked for again.
"""

import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from cachetools import Cache, LRUCache


@runtime_checkable
class SizedPrefix(Protocol):
    """What the cache needs to know of a prefix."""

    @property
    def num_bytes(self) -> int:
        """Memory that keeping it costs, bytes, at least 0."""


@dataclass(frozen=True, slots=True)
class PrefixKey:
    """Whose prefix, of which history, under which model.

    Attributes:
        user_key: whose; any text.
        revision: the history revision it was computed from.
        model_version: digest of all that decides a score.
    """

    user_key: str
    revision: int
    model_version: str


@dataclass(frozen=True, slots=True)
class CacheStats:
    """What the cache has done so far, and holds now."""

    num_hits: int
    num_misses: int
    num_evictions: int
    num_too_large: int
    num_entries: int
    num_bytes: int


@dataclass(frozen=True, slots=True)
class _Entry:
    revision: int
    prefix: SizedPrefix


class PrefixCache:
    """LRU cache of user prefixes, safe to use from several threads.

    A prefix takes time to compute, and its user may be erased meanwhile. So the one who computes
    notes `num_forgotten` before reading anything of the user and gives it to `put`: after any
    erasure in between, the prefix is not kept. Erasures are rare, so that an erasure of somebody
    else costs a recomputation does not matter, and no list of the erased is needed.

    Args:
        max_bytes: at most this many bytes of prefixes are kept; 0 keeps nothing.

    Raises:
        ValueError: if `max_bytes` is negative.
    """

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 0:
            raise ValueError(f"max_bytes must be at least 0, got {max_bytes}: pass 0 to keep none")
        self._entries: LRUCache[tuple[str, str], _Entry] = LRUCache(
            max_bytes, getsizeof=lambda entry: entry.prefix.num_bytes
        )
        self._lock = threading.Lock()
        self._num_forgotten = 0
        self._num_hits = self._num_misses = self._num_evictions = self._num_too_large = 0

    @property
    def num_forgotten(self) -> int:
        """How often `forget` or `forget_gone` was called: grows with every erasure."""
        return self._num_forgotten

    def __contains__(self, key: PrefixKey) -> bool:
        """Tell whether `get` would hit, uncounted; refreshes, as who asks is about to use it."""
        with self._lock:
            entry = self._entries.get((key.user_key, key.model_version))
            return entry is not None and entry.revision == key.revision

    def get(self, key: PrefixKey) -> SizedPrefix | None:
        """Return the prefix kept under this key, now the most recently used, or None."""
        with self._lock:
            entry = self._entries.get((key.user_key, key.model_version))
            if entry is None or entry.revision != key.revision:
                self._num_misses += 1
                return None
            self._num_hits += 1
            return entry.prefix

    def put(self, key: PrefixKey, prefix: SizedPrefix, *, since: int) -> bool:
        """Keep a prefix, evicting the least recently used ones to make room.

        Args:
            key: replaces the user's entry of any other revision.
            prefix: not kept when it alone is larger than the cache.
            since: `num_forgotten` from before anything of the user was read.

        Returns:
            Whether it is kept now.
        """
        place = (key.user_key, key.model_version)
        with self._lock:
            if since != self._num_forgotten:
                return False
            self._entries.pop(place, None)
            if prefix.num_bytes > self._entries.maxsize:
                self._num_too_large += 1
                return False
            num_before = len(self._entries)
            self._entries[place] = _Entry(key.revision, prefix)
            self._num_evictions += num_before + 1 - len(self._entries)
            return True

    def forget(self, user_key: str) -> int:
        """Remove all of a user's entries, and whatever is being computed now; return how many."""
        with self._lock:
            self._num_forgotten += 1
            places = [place for place in self._entries if place[0] == user_key]
            for place in places:
                del self._entries[place]
            return len(places)

    def forget_gone(self, stored: Callable[[Collection[int]], Collection[int]]) -> int:
        """Remove entries of histories that are gone, and whatever is being computed now.

        Args:
            stored: called with revisions, returns those whose history is there; may block, for
                the cache goes on meanwhile.

        Returns:
            How many were removed.

        Raises:
            Exception: whatever `stored` raised; nothing is removed then.
        """
        with self._lock:
            self._num_forgotten += 1
            asked = {self._revision_at(place) for place in self._entries}
        gone = asked - set(stored(asked))
        with self._lock:
            places = [place for place in self._entries if self._revision_at(place) in gone]
            for place in places:
                del self._entries[place]
            return len(places)

    def _revision_at(self, place: tuple[str, str]) -> int:
        # Not as LRUCache looks up, for whom each entry looked at is a used one.
        return Cache.__getitem__(self._entries, place).revision

    def stats(self) -> CacheStats:
        """Count what has happened so far."""
        with self._lock:
            return CacheStats(
                num_hits=self._num_hits,
                num_misses=self._num_misses,
                num_evictions=self._num_evictions,
                num_too_large=self._num_too_large,
                num_entries=len(self._entries),
                num_bytes=int(self._entries.currsize),
            )
