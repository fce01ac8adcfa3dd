"""Requests that are no message. Innermost, so that such a call is logged, counted and answered."""

from collections.abc import Callable
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from recsys.errors import InvalidRequest
from recsys.reasons import Reason
from recsys.service._call_context import CallContext
from recsys.service.interceptors.calls import Continuation, is_ours


class MalformedInterceptor(grpc.aio.ServerInterceptor):
    """Raises InvalidRequest for bytes that cannot be read; by itself gRPC answers INTERNAL."""

    async def intercept_service(self, continuation: Continuation, handler_call_details: Any) -> Any:
        """Wrap the handler of a method; gRPC calls this for each call."""
        handler = await continuation(handler_call_details)
        if handler is None or not is_ours(handler_call_details.method):
            return handler

        async def answer(request: Any, context: CallContext) -> Any:
            if isinstance(request, _Malformed):
                raise InvalidRequest(
                    "the request must be a recsys.v1 message, got bytes that are none",
                    reason=Reason.REQUEST_MALFORMED,
                )
            return await handler.unary_unary(request, context)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=_tolerant(handler.request_deserializer),
            response_serializer=handler.response_serializer,
        )


class _Malformed:
    """Stands for a request whose bytes are no message."""


def _tolerant(deserialize: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    def read(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError:
            return _Malformed()

    return read
