"""One model, many requests: user-prefix cache, bounded queue, deadlines, health."""

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from recsys.engine.batcher import FlushLoop
from recsys.engine.caches import PrefixCache, PrefixKey
from recsys.engine.queue import Group, GroupKey, Item, LoadReferences, Scored
from recsys.engine.worker import STOPPING, Computed, ModelThread, Scorer
from recsys.errors import DeadlinePassed, Overloaded, Unavailable
from recsys.fields import unknown_audience
from recsys.reasons import Reason


@dataclass(frozen=True, slots=True)
class EngineStats:
    """What the engine has done since its start, and how full it is now.

    Attributes:
        queue_length: requests that wait, for images or for the model.
        num_requests: answered with scores.
        num_scored: candidates scored.
        num_overloaded: refused because the queue was full or too long for the time left.
        num_expired: whose time was over before they were answered.
        num_cancelled: whose caller went away.
        num_failed: answered with any other error.
        num_model_failures: calls of the model that raised.
        mean_service_s: running mean of the model's time for one request; 0 before the first.
        cache_hits: turns at the model that found the user's prefix warm.
        cache_misses: turns that had to compute it.
        cache_evictions: prefixes that made room for others.
        cache_too_large: prefixes that did not fit the whole cache.
        cache_entries: prefixes kept now.
        cache_bytes: their size.
    """

    queue_length: int
    num_requests: int
    num_scored: int
    num_overloaded: int
    num_expired: int
    num_cancelled: int
    num_failed: int
    num_model_failures: int
    mean_service_s: float
    cache_hits: int
    cache_misses: int
    cache_evictions: int
    cache_too_large: int
    cache_entries: int
    cache_bytes: int


@dataclass(slots=True)
class _Counts:
    num_requests: int = 0
    num_scored: int = 0
    num_overloaded: int = 0
    num_expired: int = 0
    num_cancelled: int = 0
    num_failed: int = 0


class ScoringEngine:
    """Scores candidates for many users with one model; all but forgetting runs on one event loop.

    Attributes:
        model_version: of the model itself.
        audiences: model versions of the other audiences, by name.

    Args:
        scorer: the model; called on one thread of its own.
        load_references: reads the images of a cold user's pairs, leaving out what cannot be read.
        max_queue: requests that may wait; at least 1.
        prefix_cache_bytes: user prefixes kept warm, bytes; 0 keeps none.
        audiences: by name, the scorers of other P_v on the model's weights.
        num_loaders: cold users whose references are loaded at the same time; at least 1.
        max_failures: model failures in a row after which the engine is not ready; at least 1.
        probe_every_s: after so long without a request the model is tried, so that health does
            not stay green on a device that died while idle; also how often a failing model is
            tried again; seconds, above 0.
        stalled_after_s: a call of the model that runs longer makes the engine not ready; seconds.
        clock: seconds that never go back; deadlines are instants on it.

    Raises:
        ValueError: if a count is too small.
    """

    def __init__(
        self,
        scorer: Scorer,
        load_references: LoadReferences,
        *,
        max_queue: int,
        prefix_cache_bytes: int,
        audiences: Mapping[str, Scorer] | None = None,
        num_loaders: int = 2,
        max_failures: int = 3,
        probe_every_s: float = 15.0,
        stalled_after_s: float = 120.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        counts = {"max_queue": max_queue, "max_failures": max_failures, "num_loaders": num_loaders}
        for name, count in counts.items():
            if count < 1:
                raise ValueError(f"{name} must be at least 1, got {count}")
        audiences = audiences or {}
        self.model_version = scorer.model_version
        self.audiences = {name: each.model_version for name, each in audiences.items()}
        self._max_queue = max_queue
        self._clock = clock
        self._cache = PrefixCache(prefix_cache_bytes)
        self._model = ModelThread(
            scorer,
            audiences.values(),
            max_failures=max_failures,
            stalled_after_s=stalled_after_s,
            clock=clock,
        )
        self._loop = FlushLoop(
            self._model,
            self._cache,
            load_references,
            num_loaders=num_loaders,
            probe_every_s=probe_every_s,
            clock=clock,
        )
        self._is_draining = False
        self._counts = _Counts()

    @property
    def ready(self) -> bool:
        """Whether requests are taken: started, not draining, and the model is well."""
        return self._loop.is_running and not self._is_draining and self._model.is_well

    @property
    def expected_wait_s(self) -> float:
        """How long a request that comes now is likely to wait for the model, seconds."""
        return self._loop.expected_wait_s

    @property
    def num_forgotten(self) -> int:
        """Grows with every `forget`; to be read before a user's history, for `score(since=...)`."""
        return self._cache.num_forgotten

    def version_of(self, audience: str) -> str:
        """The model version that scores for an audience; empty: the model's own.

        Raises:
            InvalidRequest: if there is no such audience; names `audience` and those that there are.
        """
        if not audience:
            return self.model_version
        if audience in self.audiences:
            return self.audiences[audience]
        raise unknown_audience(audience, self.audiences)

    @property
    def stats(self) -> EngineStats:
        """Count what has happened so far."""
        cache, counts = self._cache.stats(), self._counts
        return EngineStats(
            queue_length=self._loop.num_waiting,
            num_requests=counts.num_requests,
            num_scored=counts.num_scored,
            num_overloaded=counts.num_overloaded,
            num_expired=counts.num_expired,
            num_cancelled=counts.num_cancelled,
            num_failed=counts.num_failed,
            num_model_failures=self._model.num_failures,
            mean_service_s=self._loop.mean_service_s,
            cache_hits=cache.num_hits,
            cache_misses=cache.num_misses,
            cache_evictions=cache.num_evictions,
            cache_too_large=cache.num_too_large,
            cache_entries=cache.num_entries,
            cache_bytes=cache.num_bytes,
        )

    async def start(self) -> None:
        """Run a real forward pass for each audience, then take requests.

        Raises:
            RuntimeError: if it was started or drained before.
            Exception: whatever the model raised; the engine is not started then.
        """
        if self._loop.is_started or self._is_draining:
            raise RuntimeError("an engine is started once: make a new one")
        await self._model.probe(for_all=True)
        self._loop.start()

    async def probe(self) -> None:
        """Run a forward pass on a synthetic reference and candidate; success makes the model well.

        Raises:
            Exception: whatever the model raised.
        """
        await self._model.probe()

    async def drain(self, timeout_s: float) -> None:
        """Take no more requests, finish those that wait, and end.

        Args:
            timeout_s: how long to wait for them, seconds; the rest fails with Unavailable.
        """
        self._is_draining = True
        await self._loop.stop(timeout_s)
        self._model.close()

    def forget(self, user_key: str) -> None:
        """Drop all that is kept of a user, what is being computed now included; any thread."""
        self._cache.forget(user_key)

    def forget_gone(self, stored: Callable[[Collection[int]], Collection[int]]) -> int:
        """Drop the prefixes of histories that are gone, as `PrefixCache.forget_gone`; any thread.

        Args:
            stored: of some revisions, as `score` was given them, those whose history is there.

        Returns:
            How many were dropped.
        """
        return self._cache.forget_gone(stored)

    def compute(self, function: Callable[..., Computed], *args: Any) -> Computed:
        """Run another computation of the model between requests, and wait; from any other thread.

        Raises:
            Unavailable: if the engine is not ready, or stops before it runs.
            Exception: whatever the function raised.
        """
        if not self.ready:
            raise self._not_ready()
        return self._model.compute(function, *args)

    async def score(
        self,
        user_key: str,
        revision: int,
        pairs: Sequence[Any],
        candidates: Sequence[Any],
        *,
        model_version: str | None = None,
        deadline: float | None = None,
        since: int | None = None,
    ) -> Scored:
        """Score candidates for a user.

        Args:
            user_key: whose references.
            revision: of what `pairs` come from; a number that no other history of this user
                ever has.
            pairs: the references by the names of their images, oldest first; loaded at most once,
                and only when the user's prefix is not warm. A prefix of fewer is used but not
                kept, for what cannot be read now may be readable later.
            candidates: at least one.
            model_version: of an audience, as `version_of` tells it; None: the model's own.
            deadline: instant on the engine's clock (time.monotonic by default).
            since: `num_forgotten` as it was before the history was read; None: as it is now.

        Raises:
            ValueError: if there are no candidates.
            Unavailable: if the engine is not ready, or stops before the answer.
            Overloaded: if the queue is full, or longer than the time left.
            DeadlinePassed: if the deadline passes before the answer.
            Exception: whatever loading the references or the model raised.
        """
        if not candidates:
            raise ValueError("candidates must not be empty: there is nothing to score")
        key = GroupKey(
            PrefixKey(user_key, revision, model_version or self.model_version),
            self.num_forgotten if since is None else since,
        )
        group = Group(key, pairs)
        try:
            scored = await self._answer(group, tuple(candidates), deadline)
        except BaseException as error:
            self._count_failure(error)
            raise
        self._counts.num_requests += 1
        self._counts.num_scored += len(candidates)
        return scored

    async def _answer(
        self, group: Group, candidates: tuple[Any, ...], deadline: float | None
    ) -> Scored:
        time_left_s = None if deadline is None else deadline - self._clock()
        self._admit(time_left_s)
        item = Item(candidates, deadline, asyncio.get_running_loop().create_future())
        group = self._loop.join(item, group)
        try:
            async with asyncio.timeout(time_left_s) as limit:
                return await item.answer
        except TimeoutError:
            if limit.expired():
                raise DeadlinePassed("the deadline passed before the scores were there") from None
            raise  # the model's own
        finally:
            self._loop.leave(item, group)

    def _admit(self, time_left_s: float | None) -> None:
        if not self.ready:
            raise self._not_ready()
        if time_left_s is not None and time_left_s <= 0:
            raise DeadlinePassed("the deadline had passed before the request came to the model")
        wait_s = self._loop.expected_wait_s
        if self._loop.num_waiting >= self._max_queue:
            raise Overloaded(
                f"at most {self._max_queue} requests may wait, and so many do: call again later",
                retry_after_s=wait_s or 1.0,
            )
        if time_left_s is not None and wait_s > time_left_s:
            raise Overloaded(
                f"the wait is about {wait_s:.1f} s and the deadline in {time_left_s:.1f} s:"
                " call again later or allow more time",
                reason=Reason.DEADLINE_TOO_SHORT,
                retry_after_s=wait_s - time_left_s,
            )

    def _not_ready(self) -> Unavailable:
        if self._is_draining:
            return Unavailable(STOPPING, reason=Reason.DRAINING)
        if not self._loop.is_started:
            return Unavailable("the model is loading: call again later", reason=Reason.LOADING)
        return Unavailable("the model is failing: call again later", reason=Reason.MODEL_FAILING)

    def _count_failure(self, error: BaseException) -> None:
        match error:
            case Overloaded():
                self._counts.num_overloaded += 1
            case DeadlinePassed():
                self._counts.num_expired += 1
            case asyncio.CancelledError():
                self._counts.num_cancelled += 1
            case _:
                self._counts.num_failed += 1
