"""A client whose server is not there, or not yet: told why, and in the time given."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from recsys._retrying_client import Sender
from recsys.client import RecsysClient
from recsys.errors import DeadlinePassed, Unavailable
from recsys.ranking.candidates import Candidate
from recsys.reasons import Reason
from recsys.v1 import user_service_pb2, user_service_pb2_grpc

GIVE_UP_S = 60.0
SHORT_S = 0.5
CONNECTING = grpc.ChannelConnectivity.CONNECTING
SMALL = [Candidate("a", "", image=b"x")]
REQUEST = user_service_pb2.GetUserRequest(user_id="ann")


@pytest.fixture
def closed():
    """An address at which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
def black_hole():
    """An address that takes connections and never says a word."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield f"127.0.0.1:{listening.getsockname()[1]}"


@pytest.mark.parametrize("timeout_s", [SHORT_S, GIVE_UP_S])
def test_a_closed_port_is_told_as_refused(closed, timeout_s):
    with (
        RecsysClient(closed, timeout_s=timeout_s) as client,
        pytest.raises(Unavailable, match="Connection refused") as raised,
    ):
        client.rank("ann", SMALL)

    assert raised.value.reason == Reason.UNREACHABLE


@pytest.mark.parametrize("wait_for_ready", [False, True])
def test_a_black_hole_is_told_as_no_connection(black_hole, wait_for_ready):
    with (
        RecsysClient(black_hole, timeout_s=SHORT_S, wait_for_ready=wait_for_ready) as client,
        pytest.raises(Unavailable, match=f"no connection to {black_hole} within 0.5 s") as raised,
    ):
        client.rank("ann", SMALL)

    assert raised.value.reason == Reason.UNREACHABLE


def test_a_name_that_is_none_is_told():
    with (
        RecsysClient("no-such-host.invalid:50051", timeout_s=SHORT_S) as client,
        pytest.raises(Unavailable, match=r"no-such-host\.invalid"),
    ):
        client.rank("ann", SMALL)


def test_a_server_that_is_there_and_slow_is_late(live, client, candidate, calling):
    client.rank("ann", [candidate("a", 1)])
    live.scorer.is_open.clear()

    with pytest.raises(DeadlinePassed):
        client.rank("ann", [candidate("a", 1)], timeout_s=SHORT_S)


class Refused(grpc.RpcError, grpc.Call):
    def __init__(self, code):
        self._code = code

    def code(self):
        return self._code

    def details(self):
        return "as told"

    def trailing_metadata(self):
        return ()


class Starting:
    """A method that is UNAVAILABLE so many times, each after a while; notes how it was called."""

    def __init__(self, clock, num_times, takes_s=0.0, then=None):
        self.clock = clock
        self.num_times = num_times
        self.takes_s = takes_s
        self.then = then
        self.calls = []

    def __call__(self, request, *, timeout, wait_for_ready):
        self.calls.append((timeout, wait_for_ready))
        self.clock.now += self.takes_s
        if len(self.calls) <= self.num_times:
            raise Refused(grpc.StatusCode.UNAVAILABLE)
        if self.then is not None:
            raise Refused(self.then)
        return "answer"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def sleep(self, seconds):
        assert seconds > 0
        self.now += seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def sender(closed, clock):
    with grpc.insecure_channel(closed) as channel:
        yield lambda **options: Sender(channel, closed, clock=clock, sleep=clock.sleep, **options)


def test_all_tries_together_take_no_longer_than_the_timeout(sender, clock):
    method = Starting(clock, 99, takes_s=0.3)

    with pytest.raises(Unavailable, match="as told"):
        sender().send(method, REQUEST, 1.0)

    assert clock.now < 1.0
    timeouts = [timeout for timeout, _ in method.calls]
    assert timeouts == sorted(timeouts, reverse=True)
    assert timeouts[0] == 1.0
    assert 1 < len(timeouts) < 4


def test_without_waiting_it_gives_up_after_four(sender, clock):
    method = Starting(clock, 99)

    with pytest.raises(Unavailable, match="as told"):
        sender().send(method, REQUEST, 1000.0)

    assert [waits for _, waits in method.calls] == [False] * 4
    assert 1.0 < clock.now < 2.0


def test_a_caller_who_waits_gets_a_server_that_takes_long_to_start(sender, clock):
    method = Starting(clock, 30)

    assert sender(wait_for_ready=True).send(method, REQUEST, 1000.0) == "answer"

    assert [waits for _, waits in method.calls] == [True] * 31
    assert 30 < clock.now < 80


def test_a_caller_who_waits_does_so_no_longer_than_told(sender, clock):
    with pytest.raises(Unavailable, match="as told"):
        sender(wait_for_ready=True).send(Starting(clock, 10**6), REQUEST, 20.0)

    assert 15 < clock.now < 20


def test_what_kept_the_connection_is_told_rather_than_that_time_is_over(sender, clock, black_hole):
    late = Starting(clock, 1, then=grpc.StatusCode.DEADLINE_EXCEEDED)
    with grpc.insecure_channel(black_hole, options=[("grpc.enable_http_proxy", 0)]) as channel:
        is_connecting = threading.Event()
        channel.subscribe(
            lambda state: state is CONNECTING and is_connecting.set(), try_to_connect=True
        )
        assert is_connecting.wait(GIVE_UP_S)
        sending = Sender(channel, black_hole, clock=clock, sleep=clock.sleep)
        with pytest.raises(Unavailable, match="as told"):
            sending.send(late, REQUEST, 1.0)


def test_a_server_that_starts_later_is_waited_for(closed, calling):
    class Users(user_service_pb2_grpc.UserServiceServicer):
        def GetUser(self, request, context):
            response = user_service_pb2.GetUserResponse()
            response.user.user_id = request.user_id
            response.user.created_at.GetCurrentTime()
            return response

    with RecsysClient(closed, timeout_s=GIVE_UP_S, wait_for_ready=True) as client:
        asked = calling(client.get_user, "ann")
        with (
            RecsysClient(closed, timeout_s=SHORT_S) as other,
            pytest.raises(Unavailable, match="refused"),
        ):
            other.get_user("ann")  # meanwhile: it is not up yet
        server = grpc.server(ThreadPoolExecutor(1), options=[("grpc.so_reuseport", 0)])
        user_service_pb2_grpc.add_UserServiceServicer_to_server(Users(), server)
        server.add_insecure_port(closed)
        server.start()
        try:
            assert asked.result().user_id == "ann"
        finally:
            server.stop(None).wait(GIVE_UP_S)
