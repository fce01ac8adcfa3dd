"""What the service needs of gRPC's own context, whose class does not derive from its interface."""

from collections.abc import Sequence
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

    async def abort(
        self,
        code: grpc.StatusCode,
        details: str = "",
        trailing_metadata: Sequence[tuple[str, str | bytes]] = (),
    ) -> Any:
        """End the call with a status; always raises."""
