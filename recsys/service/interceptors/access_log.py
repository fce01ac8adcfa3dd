"""A line and two metrics for each call, whether it was let in or not."""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Any

import grpc

from recsys.service.interceptors.calls import Call, correlation_id
from recsys.service.metrics import ServiceMetrics
from recsys.wire.statuses import meaning_of

access_logger = logging.getLogger("recsys.access")

_ALL_OF_IT = 0.98
"""A share of the time given that counts as all: on its way here, gRPC rounds it up by up to 1%."""


class AccessLog:
    """Counts, times and logs calls.

    Args:
        metrics: counts.
        clock: seconds that never go back.
    """

    def __init__(
        self, metrics: ServiceMetrics, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._metrics = metrics
        self._clock = clock

    async def answer(self, call: Call) -> Any:
        """Answer a call, and tell how it went."""
        began, given_s = self._clock(), call.context.time_remaining()
        code = grpc.StatusCode.OK
        try:
            return await call.proceed()
        except asyncio.CancelledError:
            # gRPC cancels at the deadline, or the caller does, whose clock is as good.
            is_late = given_s is not None and self._clock() - began >= _ALL_OF_IT * given_s
            code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            code = meaning_of(error).code
            raise
        finally:
            took_s = self._clock() - began
            self._metrics.observe_call(call.method, code.name, took_s)
            _log(call, code.name, took_s)


def _log(call: Call, code: str, took_s: float) -> None:
    # No user id: logs are kept longer, and read by more people, than what a person can erase.
    access_logger.info(
        "%s %s %.1f ms peer=%s correlation_id=%s request_id=%.128r",
        call.method,
        code,
        took_s * 1000,
        call.context.peer(),
        correlation_id.get(),
        getattr(call.request, "request_id", ""),
    )
