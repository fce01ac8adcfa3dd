"""grpc.health.v1: one state for the whole server and each of its services."""

import asyncio
from collections.abc import Collection

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from recsys.service._call_context import CallContext

SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"].full_name


class HealthServicer(health_pb2_grpc.HealthServicer):
    """Answers whether the service serves; at first it does not.

    grpcio's own asyncio servicer is not used: when one of several watchers of a name leaves, the
    others get no further updates.

    Args:
        services: full names; the server as a whole ("") is added.
    """

    def __init__(self, services: Collection[str]) -> None:
        self._services = frozenset({"", *services})
        self._is_serving = False
        self._is_closed = False
        self._changed = asyncio.Condition()

    async def set_serving(self, is_serving: bool) -> None:
        """Report from now on that the service serves, or does not."""
        async with self._changed:
            self._is_serving = is_serving
            self._changed.notify_all()

    async def close(self) -> None:
        """End the watchers' streams after a last update, so that the server can stop."""
        async with self._changed:
            self._is_closed = True
            self._changed.notify_all()

    async def Check(  # the names are gRPC's
        self, request: HealthCheckRequest, context: CallContext
    ) -> HealthCheckResponse:
        """Answer whether a service serves; NOT_FOUND for a name that is none."""
        if request.service not in self._services:
            await context.abort(grpc.StatusCode.NOT_FOUND, "there is no such service")
        return self._response(request.service)

    async def Watch(self, request: HealthCheckRequest, context: CallContext) -> None:
        """Send a service's state now and whenever it changes."""
        sent: HealthCheckResponse | None = None
        while True:
            async with self._changed:
                while self._response(request.service) == sent and not self._is_closed:
                    await self._changed.wait()
                response, is_closed = self._response(request.service), self._is_closed
            # Not under the lock: a watcher that does not read must not keep the others waiting.
            if response != sent:
                await context.write(response)
                sent = response
            if is_closed:
                return

    def _response(self, service: str) -> HealthCheckResponse:
        if service not in self._services:
            return HealthCheckResponse(status=HealthCheckResponse.SERVICE_UNKNOWN)
        if self._is_serving:
            return HealthCheckResponse(status=HealthCheckResponse.SERVING)
        return HealthCheckResponse(status=HealthCheckResponse.NOT_SERVING)
