"""What the client does by itself: deadlines, retries on UNAVAILABLE alone, refusals."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import grpc
import pytest
from google.rpc.status_pb2 import Status

from recsys.client import RecsysClient
from recsys.errors import (
    DeadlinePassed,
    ImageRefused,
    InvalidRequest,
    NotFound,
    Overloaded,
    RecsysError,
    Unavailable,
)
from recsys.ranking.candidates import Candidate
from recsys.reasons import Reason
from recsys.v1 import ranking_service_pb2, ranking_service_pb2_grpc
from recsys.wire.ranking import ranking_to_wire
from recsys.wire.statuses import status_of

GIVE_UP_S = 60.0
SMALL = [Candidate("a", "", image=b"x")]


class Servicer(ranking_service_pb2_grpc.RankingServiceServicer):
    """Fails with the codes given, one a call, then answers."""

    def __init__(self, codes):
        self.codes = list(codes)
        self.personalization = ranking_service_pb2.PERSONALIZATION_WARM
        self.num_calls = 0
        self.time_left_s = []
        self.details = ()
        self.message = "as told"

    def RankCandidates(self, request, context):
        self.num_calls += 1
        self.time_left_s.append(context.time_remaining())
        context.set_trailing_metadata(self.details)
        if self.codes:
            context.abort(self.codes.pop(0), self.message)
        return ranking_service_pb2.RankCandidatesResponse(
            user_id=request.user_id, personalization=self.personalization
        )


@pytest.fixture
def serve():
    servers = []

    def start(*codes):
        server = grpc.server(
            ThreadPoolExecutor(2), options=[("grpc.max_receive_message_length", 64 * 2**20)]
        )
        servicer = Servicer(codes)
        ranking_service_pb2_grpc.add_RankingServiceServicer_to_server(servicer, server)
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        servers.append(server)
        return servicer, f"127.0.0.1:{port}"

    yield start
    for server in servers:
        server.stop(None).wait(GIVE_UP_S)


UNAVAILABLE = grpc.StatusCode.UNAVAILABLE


def test_unavailable_is_tried_again(serve):
    servicer, address = serve(UNAVAILABLE, UNAVAILABLE)
    with RecsysClient(address, timeout_s=GIVE_UP_S) as client:
        assert client.rank("ann", SMALL).user_id == "ann"
    assert servicer.num_calls == 3


def test_a_large_request_is_tried_again_too(serve):
    """gRPC does not retry what does not fit its buffer, which by default is 256 KiB."""
    servicer, address = serve(UNAVAILABLE)
    with RecsysClient(address, timeout_s=GIVE_UP_S) as client:
        client.rank("ann", [Candidate("a", "", image=bytes(8 * 2**20))])
    assert servicer.num_calls == 2


def test_it_gives_up_after_four(serve):
    servicer, address = serve(*[UNAVAILABLE] * 9)
    with (
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
        pytest.raises(Unavailable, match="as told"),
    ):
        client.rank("ann", SMALL)
    assert servicer.num_calls == 4


@pytest.mark.parametrize(
    "code", [code for code in grpc.StatusCode if code not in (UNAVAILABLE, grpc.StatusCode.OK)]
)
def test_nothing_else_is_tried_again(serve, code):
    servicer, address = serve(code)
    with RecsysClient(address, timeout_s=GIVE_UP_S) as client, pytest.raises(RecsysError):
        client.rank("ann", SMALL)
    assert servicer.num_calls == 1


@pytest.mark.parametrize(
    "details",
    [b"\xff no message", Status(code=3, message="of another error").SerializeToString()],
    ids=["damaged", "of another status"],
)
def test_details_that_a_proxy_has_spoilt_do_not_hide_the_error(serve, details):
    servicer, address = serve(grpc.StatusCode.NOT_FOUND)
    servicer.details = [("grpc-status-details-bin", details)]
    with (
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
        pytest.raises(NotFound, match="as told"),
    ):
        client.rank("ann", SMALL)


@pytest.mark.parametrize("message", ["upstream said no", ""])
def test_details_hold_though_a_proxy_has_changed_the_message(serve, message):
    refused = ImageRefused("it must be an image", field="candidates[0].image")
    servicer, address = serve(grpc.StatusCode.INVALID_ARGUMENT)
    servicer.message = message
    servicer.details = [("grpc-status-details-bin", sent(refused))]
    with (
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
        pytest.raises(ImageRefused) as error,
    ):
        client.rank("ann", SMALL)
    assert error.value.field == "candidates[0].image"
    assert str(error.value) == (message or "it must be an image")


def test_details_are_found_behind_others_and_damage_to_one_spares_the_rest(serve):
    status = status_of(Overloaded("full", retry_after_s=2.5), correlation_id="c1")
    damaged = Status.FromString(status.SerializeToString())
    damaged.details[0].value = b"\xff no message"
    servicer, address = serve(grpc.StatusCode.RESOURCE_EXHAUSTED)
    servicer.details = [
        ("grpc-status-details-bin", b"\xff no message"),
        ("grpc-status-details-bin", Status(code=3).SerializeToString()),
        ("grpc-status-details-bin", damaged.SerializeToString()),
    ]
    with RecsysClient(address, timeout_s=GIVE_UP_S) as client, pytest.raises(Overloaded) as error:
        client.rank("ann", SMALL)
    assert error.value.retry_after_s == 2.5


def sent(error):
    """The status of an error as it travels."""
    return status_of(error, correlation_id="c1").SerializeToString()


def test_each_call_has_a_deadline(serve):
    servicer, address = serve()
    with RecsysClient(address, timeout_s=1000.0) as client:
        client.rank("ann", SMALL)
        client.rank("ann", SMALL, timeout_s=5000.0)
    # Not exactly: on the wire long times are rounded up.
    assert 0 < servicer.time_left_s[0] < 2000 < servicer.time_left_s[1] < 10_000


def test_a_deadline_that_has_passed_is_told(live, client):
    with pytest.raises(DeadlinePassed, match="allow more time"):
        client.rank("ann", SMALL, timeout_s=-1.0)


@pytest.mark.parametrize("timeout_s", [0.0, -1.0])
def test_a_client_needs_time(timeout_s):
    with pytest.raises(ValueError, match="above 0"):
        RecsysClient("127.0.0.1:1", timeout_s=timeout_s)


@pytest.mark.parametrize("address", ["nonsense", "http://127.0.0.1:50051", ""])
def test_an_address_must_be_one(address):
    with pytest.raises(ValueError, match=r"address must be HOST:PORT .*, got ") as refused:
        RecsysClient(address)
    assert repr(address) in str(refused.value)


def test_text_that_cannot_be_sent_is_the_callers_mistake(client):
    half = "\ud800"
    for call in (
        lambda: client.rank(half, SMALL),
        lambda: client.record_choice(half, liked="0" * 64),
        lambda: client.get_user(half),
        lambda: list(client.list_choices("ann", page_size=2**31)),
        lambda: client.erase_user(half),
    ):
        with pytest.raises(InvalidRequest):
            call()


def test_a_server_without_the_method_is_told_and_falls_to_the_fallback(serve):
    _, address = serve()
    with (
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
        pytest.raises(Unavailable, match=r"got UNIMPLEMENTED .*: check the address") as error,
    ):
        client.get_user("ann")
    assert error.value.reason == Reason.CALL_NOT_SERVED
    assert error.value.retry_after_s is None


@pytest.mark.parametrize(
    "name", ["UNIMPLEMENTED", "UNAUTHENTICATED", "PERMISSION_DENIED", "UNKNOWN"]
)
@pytest.mark.parametrize("earlier", [(), (UNAVAILABLE,)], ids=["at once", "after UNAVAILABLE"])
def test_what_gRPC_makes_of_the_http_status_of_a_proxy_falls_to_the_fallback(serve, earlier, name):
    _, address = serve(*earlier, grpc.StatusCode[name])
    with (
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
        pytest.raises(Unavailable, match=rf"got {name} \(as told\)") as error,
    ):
        client.rank("ann", SMALL)
    assert error.value.reason == Reason.CALL_NOT_SERVED


@pytest.mark.parametrize("code", ["DEADLINE_EXCEEDED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"])
def test_what_may_succeed_later_tells_when_or_that_nobody_knows(serve, code):
    _, address = serve(*[grpc.StatusCode[code]] * 4)
    with (
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
        pytest.raises((DeadlinePassed, Overloaded, Unavailable)) as error,
    ):
        client.rank("ann", SMALL)
    known = {"RESOURCE_EXHAUSTED": 1.0}
    assert error.value.retry_after_s == known.get(code)


def test_a_candidate_with_bytes_and_a_sha256_is_refused_before_it_is_sent(serve):
    servicer, address = serve()
    both = Candidate("b", "", image=b"x", sha256="a" * 64)
    with (
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
        pytest.raises(InvalidRequest, match="exactly one of data and sha256, got both") as refused,
    ):
        client.rank("ann", [*SMALL, both])
    assert (refused.value.field, refused.value.reason) == (
        "candidates[1].image",
        Reason.INVALID_REQUEST,
    )
    assert servicer.num_calls == 0


def test_an_answer_of_a_newer_server_is_told(serve):
    servicer, address = serve()
    servicer.personalization = 99
    with (
        RecsysClient(address, timeout_s=GIVE_UP_S) as client,
        pytest.raises(RecsysError, match="upgrade"),
    ):
        client.rank("ann", SMALL)


def test_a_proxy_of_the_environment_does_not_come_between_this_machine_and_itself(
    monkeypatch, serve
):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    _, address = serve()
    with RecsysClient(address, timeout_s=GIVE_UP_S) as client:
        assert client.rank("ann", SMALL).user_id == "ann"


def test_one_client_serves_many_threads(client, candidate):
    def rank(n):
        return client.rank(f"user-{n}", [candidate("a", 1)]).user_id

    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(rank, range(32))) == [f"user-{n}" for n in range(32)]


def test_it_returns_records_alone(client, png, candidate):
    ranking = client.rank("ann", [candidate("a", 1)])
    appended = client.record_choice("ann", liked=png(1), chosen_at=datetime(2026, 1, 1, tzinfo=UTC))

    assert type(ranking).__module__ == "recsys.ranking.candidates"
    assert ranking_to_wire(ranking).user_id == "ann"
    assert type(appended).__module__ == "storage.records"
    assert appended.stored.choice.chosen_at == datetime(2026, 1, 1, tzinfo=UTC)
    with pytest.raises(NotFound):
        client.get_user("bob")


def test_it_works_inside_a_loop_of_the_caller(client, candidate):
    async def call():
        return await asyncio.to_thread(client.rank, "ann", [candidate("a", 1)])

    assert asyncio.run(call()).user_id == "ann"
