"""A call of recsys.v1 as an interceptor sees it; health and reflection are not intercepted."""

from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import grpc

from recsys.service._call_context import CallContext

_PREFIX = "/recsys.v1."

Continuation = Callable[[Any], Awaitable[Any]]

correlation_id: ContextVar[str] = ContextVar("correlation_id")
"""Names the call in the server's log and in the error that the caller gets."""


@dataclass(frozen=True, slots=True)
class Call:
    """A call to be answered.

    Attributes:
        method: its bare name, e.g. "RankCandidates".
        request: the message.
        context: gRPC's.
        proceed: answers it by what stands further in: other interceptors, then the servicer.
    """

    method: str
    request: Any
    context: CallContext
    proceed: Callable[[], Awaitable[Any]]


class CallInterceptor(grpc.aio.ServerInterceptor):
    """Has a function answer every call of recsys.v1.

    Args:
        answer: returns the response of `call.proceed()`, or raises.
    """

    def __init__(self, answer: Callable[[Call], Awaitable[Any]]) -> None:
        self._answer = answer

    async def intercept_service(self, continuation: Continuation, handler_call_details: Any) -> Any:
        """Wrap the handler of a method; gRPC calls this for each call."""
        handler = await continuation(handler_call_details)
        path: str = handler_call_details.method
        if handler is None or not is_ours(path):
            return handler
        method = path.rpartition("/")[2]

        async def answer(request: Any, context: CallContext) -> Any:
            proceed = partial(handler.unary_unary, request, context)
            return await self._answer(Call(method, request, context, proceed))

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=handler.request_deserializer,
            response_serializer=handler.response_serializer,
        )


def is_ours(path: str) -> bool:
    """Whether a method is one of recsys.v1, and so not one of health or reflection.

    Args:
        path: its full name, e.g. "/recsys.v1.RankingService/RankCandidates".
    """
    return path.startswith(_PREFIX)
