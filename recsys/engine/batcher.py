"""The one loop that takes waiting requests to the model."""

import asyncio
import logging
import time
from collections.abc import Callable, Sequence
from typing import Any

from recsys.engine.caches import PrefixCache
from recsys.engine.queue import Group, GroupKey, Item, LoadReferences, Scored, WaitingLine
from recsys.engine.worker import ModelThread, UserPrefix
from recsys.errors import DeadlinePassed, Unavailable
from recsys.reasons import Reason

logger = logging.getLogger(__name__)

_NEWEST_WEIGHT = 0.2  # of a service time in the running mean: about the last ten count


class FlushLoop:
    """Takes one group at a time: its prefix once, then a pass of its own for each of its requests.

    A pass holds the candidates of one request alone, so a score never depends on who else waits.
    Between passes the loop looks again who has gone or whose time is over.

    Args:
        model: runs the scorer.
        cache: of user prefixes.
        load_references: reads a cold user's references while the model works for others.
        num_loaders: cold users whose references are loaded at the same time; at least 1.
        probe_every_s: the model is tried after so long without a request; seconds, above 0.
        clock: seconds that never go back; deadlines are instants on it.
    """

    def __init__(
        self,
        model: ModelThread,
        cache: PrefixCache,
        load_references: LoadReferences,
        *,
        num_loaders: int,
        probe_every_s: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._cache = cache
        self._probe_every_s = probe_every_s
        self._clock = clock
        self._load_references = load_references
        self._places = asyncio.Semaphore(num_loaders)
        self._line = WaitingLine()
        self._serving: tuple[Item, ...] = ()
        self._serving_key: GroupKey | None = None
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._mean_service_s = 0.0

    @property
    def is_started(self) -> bool:
        """Whether `start` was called."""
        return self._task is not None

    @property
    def is_running(self) -> bool:
        """Whether requests that join are going to be answered."""
        return self._task is not None and not self._task.done()

    @property
    def num_waiting(self) -> int:
        """Requests that wait, for images or for the model."""
        return len(self._line)

    @property
    def mean_service_s(self) -> float:
        """Running mean of the model's time for one request, seconds; 0 before the first."""
        return self._mean_service_s

    @property
    def expected_wait_s(self) -> float:
        """How long a request that joins now is likely to wait for its turn, seconds."""
        return (len(self._line) + len(self._serving)) * self._mean_service_s

    def start(self) -> None:
        """Begin to answer; call on the event loop."""
        self._task = asyncio.create_task(self._flush(), name="recsys-flush")
        self._task.add_done_callback(self._on_ended)

    def join(self, item: Item, group: Group) -> Group:
        """Put a request in line; its references start to load if its user is cold."""
        group = self._line.join(item, group)
        is_warm = group.key == self._serving_key or group.key.prefix in self._cache
        if group.loaded is None and not is_warm:
            self._start_loading(group)
        self._wake.set()
        return group

    def leave(self, item: Item, group: Group) -> None:
        """Take a request out of line, whether answered or given up."""
        self._line.leave(item, group)

    async def stop(self, timeout_s: float) -> None:
        """Answer who waits for at most `timeout_s` seconds, fail the rest with Unavailable, end."""
        answers = [item.answer for item in self._unanswered()]
        if answers and self.is_running:
            await asyncio.wait(answers, timeout=timeout_s)
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._fail_all("the server stopped before this request's turn: call again", Reason.DRAINING)

    async def _flush(self) -> None:
        while True:
            group = await self._next_group()
            if group is not None:
                await self._serve(group)
            if group is None or not self._model.is_well:
                await self._probe()

    async def _next_group(self) -> Group | None:
        """Wait for a group that is ready; None after `probe_every_s` without one."""
        while (group := self._line.take_ready()) is None:
            self._wake.clear()
            try:
                async with asyncio.timeout(self._probe_every_s):
                    await self._wake.wait()
            except TimeoutError:
                return None
        return group

    async def _probe(self) -> None:
        try:
            await self._model.probe()
        except Exception:
            logger.exception("the model failed on a synthetic candidate")
            if not self._model.is_well:
                self._fail_all("the model is failing: call again later", Reason.MODEL_FAILING)

    async def _serve(self, group: Group) -> None:
        self._serving = tuple(item for item in group.items if self._is_wanted(item))
        self._serving_key = group.key
        if self._serving:
            started_at = self._clock()
            await self._serve_items(group)
            self._note_service_time((self._clock() - started_at) / len(self._serving))
        self._serving, self._serving_key = (), None

    async def _serve_items(self, group: Group) -> None:
        try:
            prefix = await self._prefix_of(group)
        except Exception as error:
            for item in self._serving:
                _fail(item, error)
            return
        for item in self._serving:
            if self._is_wanted(item):
                await self._score(prefix, item, group.key.prefix.model_version)

    async def _prefix_of(self, group: Group) -> UserPrefix:
        key = group.key.prefix
        cached = self._cache.get(key)
        if cached is not None:
            assert isinstance(cached, UserPrefix)
            return cached
        if group.loaded is None:
            self._start_loading(group)  # it was warm when the request came, and is not now: rare
        assert group.loaded is not None
        references = await group.loaded
        prefix = await self._model.prefix(references, model_version=key.model_version)
        if prefix.num_references >= len(group.pairs):
            self._cache.put(key, prefix, since=group.key.since)
        return prefix

    async def _score(self, prefix: UserPrefix, item: Item, model_version: str) -> None:
        try:
            scores = await self._model.score(prefix, item.candidates, model_version=model_version)
        except Exception as error:
            _fail(item, error)
        else:
            if not item.answer.done():
                item.answer.set_result(Scored(scores, prefix.num_references, prefix.borrowed))

    def _start_loading(self, group: Group) -> None:
        group.loaded = asyncio.create_task(self._load(group.pairs), name="recsys-load")
        group.loaded.add_done_callback(self._on_loaded)

    async def _load(self, pairs: Sequence[Any]) -> Sequence[Any]:
        async with self._places:
            return await self._load_references(pairs)

    def _on_loaded(self, loaded: "asyncio.Future[Sequence[Any]]") -> None:
        if not loaded.cancelled():
            loaded.exception()  # looked at, or asyncio complains when all who wanted it have left
        self._wake.set()

    def _is_wanted(self, item: Item) -> bool:
        if item.deadline is not None and self._clock() >= item.deadline:
            _fail(item, DeadlinePassed("the deadline passed while the request waited"))
        return not item.answer.done()

    def _note_service_time(self, service_s: float) -> None:
        weight = _NEWEST_WEIGHT if self._mean_service_s else 1.0
        self._mean_service_s += weight * (service_s - self._mean_service_s)

    def _unanswered(self) -> list[Item]:
        return [*self._serving, *self._line.items()]

    def _fail_all(self, message: str, reason: Reason) -> None:
        for item in self._unanswered():
            _fail(item, Unavailable(message, reason=reason))

    def _on_ended(self, task: "asyncio.Task[None]") -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            logger.critical("the flush loop ended: no request is answered", exc_info=error)
            text = "the engine has failed: its server must be restarted"
            self._fail_all(text, Reason.MODEL_FAILING)


def _fail(item: Item, error: BaseException) -> None:
    if not item.answer.done():
        item.answer.set_exception(error)
