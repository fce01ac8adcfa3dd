"""Admission: no call while the service loads or drains, and a limited number at a time."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from recsys.errors import Overloaded, Unavailable
from recsys.reasons import Reason
from recsys.service.interceptors.calls import Call
from recsys.service.metrics import ServiceMetrics

LOADING = "the server is loading its model: call again later"
DRAINING = "the server is stopping: call again, it or another will answer"

_NEWEST_WEIGHT = 0.2  # of a call in the running mean: about the last ten count


class Admission:
    """Counts calls in and out; used on one event loop. Closed at first.

    Args:
        metrics: shows how many calls are in.
        max_calls: at the same time; at least 1.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        metrics: ServiceMetrics,
        *,
        max_calls: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics = metrics
        self._max_calls = max_calls
        self._clock = clock
        self._mean_call_s = 0.0
        self._num_calls = 0
        self._why_closed: str | None = LOADING
        self._is_idle = asyncio.Event()
        self._is_idle.set()

    @property
    def num_calls(self) -> int:
        """Calls that are in."""
        return self._num_calls

    def open(self) -> None:
        """Let calls in from now on, unless it was closed for good."""
        if self._why_closed == LOADING:
            self._why_closed = None

    def close(self) -> None:
        """Let no more calls in, ever; those that are in go on."""
        self._why_closed = DRAINING

    async def answer(self, call: Call) -> Any:
        """Answer a call that is let in; raises as `entered` for any other."""
        with self.entered(), self._metrics.in_progress.track_inprogress():
            return await call.proceed()

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Hold a place for a call.

        Raises:
            Unavailable: if it is closed.
            Overloaded: if it is full.
        """
        if self._why_closed is not None:
            reason = Reason.LOADING if self._why_closed == LOADING else Reason.DRAINING
            raise Unavailable(self._why_closed, reason=reason)
        if self._num_calls >= self._max_calls:
            raise Overloaded(
                f"at most {self._max_calls} requests are answered at the same time,"
                " and that many are being answered: call again later",
                retry_after_s=self._mean_call_s or 1.0,
            )
        self._num_calls += 1
        self._is_idle.clear()
        began = self._clock()
        try:
            yield
        finally:
            self._num_calls -= 1
            self._note(self._clock() - began)
            if not self._num_calls:
                self._is_idle.set()

    def _note(self, took_s: float) -> None:
        weight = _NEWEST_WEIGHT if self._mean_call_s else 1.0
        self._mean_call_s += weight * (took_s - self._mean_call_s)

    async def wait_until_idle(self) -> None:
        """Wait until no call is in."""
        await self._is_idle.wait()
