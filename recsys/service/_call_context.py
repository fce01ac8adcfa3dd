"""What the service needs of gRPC's own context, whose class does not derive from its interface."""

from typing import Any, Protocol, runtime_checkable

import grpc


@runtime_checkable
class CallContext(Protocol):
    """A call that is being answered."""

    def time_remaining(self) -> float | None:
        """Seconds until the caller's deadline, at least 0; None without one."""

    def peer(self) -> str:
        """Who calls, e.g. "ipv4:127.0.0.1:40318"."""

    async def write(self, message: Any) -> None:
        """Send one message of a stream."""

    async def abort(self, code: grpc.StatusCode, details: str = "") -> Any:
        """End the call with a code and a text; always raises."""

    async def abort_with_status(self, status: grpc.Status) -> Any:
        """End the call with a code, a text and details; always raises."""
