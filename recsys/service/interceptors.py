"""What surrounds every call of recsys.v1: admission, error mapping, the access log, metrics."""

import asyncio
import logging
import time
import uuid
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from grpc_status import rpc_status

from recsys.errors import InvalidRequest
from recsys.service.admission import Admission
from recsys.service.call_context import CallContext
from recsys.service.metrics import ServiceMetrics
from recsys.wire.statuses import INTERNAL, meaning_of, status_of

logger = logging.getLogger(__name__)
access_logger = logging.getLogger("recsys.access")

_OURS = "/recsys.v1."

Handler = Callable[[Any, Any], Awaitable[Any]]


class _Malformed:
    """Stands for a request whose bytes are no message."""


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Lets calls in, tells their errors, counts them and writes a line for each.

    Health and reflection pass through untouched: they answer while the service is closed or full.

    Args:
        admission: decides who is let in.
        metrics: counts.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        admission: Admission,
        metrics: ServiceMetrics,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._admission = admission
        self._metrics = metrics
        self._clock = clock

    async def intercept_service(
        self,
        continuation: Callable[[Any], Awaitable[Any]],
        handler_call_details: Any,
    ) -> Any:
        """Wrap the handler of one of our methods; gRPC calls this for each call."""
        handler = await continuation(handler_call_details)
        path: str = handler_call_details.method
        if handler is None or not path.startswith(_OURS):
            return handler
        method = path.rpartition("/")[2]

        async def call(request: Any, context: CallContext) -> Any:
            return await self._call(handler.unary_unary, method, request, context)

        return grpc.unary_unary_rpc_method_handler(
            call,
            request_deserializer=_tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )

    async def _call(self, handler: Handler, method: str, request: Any, context: CallContext) -> Any:
        began = self._clock()
        correlation_id = uuid.uuid4().hex
        code = grpc.StatusCode.OK
        try:
            with self._admission.entered(), self._metrics.in_progress.track_inprogress():
                return await _answer(handler, request, context)
        except asyncio.CancelledError:
            is_late = context.time_remaining() == 0  # gRPC cancels at the caller's deadline
            code = grpc.StatusCode.DEADLINE_EXCEEDED if is_late else grpc.StatusCode.CANCELLED
            raise
        except Exception as error:
            code = meaning_of(error).code
            status = rpc_status.to_status(status_of(error, correlation_id=correlation_id))
            if code is INTERNAL.code:
                logger.exception("%s failed, correlation id %s", method, correlation_id)
        finally:
            took_s = self._clock() - began
            self._metrics.observe_call(method, code.name, took_s)
            _log(method, code.name, took_s, correlation_id, context.peer(), request)
        # Last, so that who has the answer finds the call counted. It raises.
        await context.abort_with_status(status)


async def _answer(handler: Handler, request: Any, context: CallContext) -> Any:
    if isinstance(request, _Malformed):
        raise InvalidRequest("the request must be a recsys.v1 message, got bytes that are none")
    return await handler(request, context)


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """Let a call begin that could not be read, so that it is answered, logged and counted."""

    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _Malformed()

    return read


def _log(
    method: str, code: str, took_s: float, correlation_id: str, peer: str, request: Any
) -> None:
    # No user id: logs are kept longer, and read by more people, than what a person can erase.
    access_logger.info(
        "%s %s %.1f ms peer=%s correlation_id=%s request_id=%.128r",
        method,
        code,
        took_s * 1000,
        peer,
        correlation_id,
        getattr(request, "request_id", ""),
    )
