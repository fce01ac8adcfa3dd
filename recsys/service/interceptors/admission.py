"""Admission: no call while the service loads or drains, and a limited number at a time."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from recsys.errors import Overloaded, Unavailable
from recsys.reasons import Reason
from recsys.service.interceptors.calls import Call
from recsys.service.metrics import ServiceMetrics

LOADING = "the server is loading its model: call again later"
DRAINING = "the server is stopping: call again, it or another will answer"


class Admission:
    """Counts calls in and out; used on one event loop. Closed at first.

    Args:
        metrics: shows how many calls are in.
        max_calls: at the same time; at least 1.
    """

    def __init__(self, metrics: ServiceMetrics, *, max_calls: int) -> None:
        self._metrics = metrics
        self._max_calls = max_calls
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
                " and that many are being answered: call again later"
            )
        self._num_calls += 1
        self._is_idle.clear()
        try:
            yield
        finally:
            self._num_calls -= 1
            if not self._num_calls:
                self._is_idle.set()

    async def wait_until_idle(self) -> None:
        """Wait until no call is in."""
        await self._is_idle.wait()
