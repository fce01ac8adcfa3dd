"""The part of the client that sends: again while the server is UNAVAILABLE, within the time given.

Not by gRPC's own retries: those hide why nothing answers, once the time is over between two tries.
"""

import queue
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from recsys.errors import RecsysError, Unavailable
from recsys.reasons import Reason
from recsys.wire.statuses import error_of

_MAX_TRIES = 4
_FIRST_PAUSE_S = 0.2
_MAX_PAUSE_S = 2.0
_JITTER = 0.2

# AIP-194: of all codes, only UNAVAILABLE says that the call was not, or need not have been, done.
_RETRIED = grpc.StatusCode.UNAVAILABLE

_NOT_CONNECTED = (
    grpc.ChannelConnectivity.CONNECTING,
    grpc.ChannelConnectivity.TRANSIENT_FAILURE,
)
_STATE_COMES_WITHIN_S = 1.0


SendRequest = Callable[..., Any]
"""Makes a request and sends it: method, kind of request, timeout, fields."""


class Sender:
    """Sends requests over a channel.

    Args:
        channel: open.
        address: of the server, for messages.
        wait_for_ready: go on trying for as long as a call may take, instead of four times.
        clock: seconds that never go back.
        sleep: waits so many seconds.
    """

    def __init__(
        self,
        channel: grpc.Channel,
        address: str,
        *,
        wait_for_ready: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._channel = channel
        self._address = address
        self._waits = wait_for_ready
        self._clock = clock
        self._sleep = sleep

    def send(self, method: Callable[..., Any], request: Any, timeout_s: float) -> Any:
        """Return the response of a method of a stub on the channel.

        Args:
            method: called with the request, its timeout and whether it waits for a connection.
            request: its message.
            timeout_s: for all tries together, seconds.

        Raises:
            RecsysError: as `recsys.wire.statuses.error_of`.
        """
        end = self._clock() + timeout_s
        unavailable: RecsysError | None = None
        for pause_s in _pauses(None if self._waits else _MAX_TRIES):
            try:
                return method(request, timeout=end - self._clock(), wait_for_ready=self._waits)
            except grpc.RpcError as failed:
                error = self._error_of(failed, timeout_s)
                if failed.code() is not _RETRIED:
                    # Without a connection, what kept it earlier tells more than that time is over.
                    if unavailable is not None and error.reason == Reason.UNREACHABLE:
                        error = unavailable
                    raise error from failed
                if pause_s is None or self._clock() + pause_s >= end:
                    raise error from failed
                unavailable = error
                self._sleep(pause_s)
        raise AssertionError("a last try answers or raises")

    def _error_of(self, failed: grpc.RpcError, timeout_s: float) -> RecsysError:
        is_late = failed.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        if is_late and timeout_s > 0 and not self._is_connected():
            return Unavailable(
                f"there was no connection to {self._address} within {timeout_s:g} s",
                reason=Reason.UNREACHABLE,
            )
        return error_of(failed)

    def _is_connected(self) -> bool:
        states: queue.SimpleQueue[grpc.ChannelConnectivity] = queue.SimpleQueue()
        self._channel.subscribe(states.put)
        try:
            return states.get(timeout=_STATE_COMES_WITHIN_S) not in _NOT_CONNECTED
        except queue.Empty:
            return True
        finally:
            self._channel.unsubscribe(states.put)


def _pauses(max_tries: int | None) -> Iterator[float | None]:
    """Yield for each try how long to wait after it, in seconds; None after the last one."""
    pause_s, num_tries = _FIRST_PAUSE_S, 1
    while max_tries is None or num_tries < max_tries:
        yield pause_s * random.uniform(1 - _JITTER, 1 + _JITTER)
        pause_s, num_tries = min(2 * pause_s, _MAX_PAUSE_S), num_tries + 1
    yield None
