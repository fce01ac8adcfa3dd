"""Deadlines, cancelled calls, full queues, requests that are too large or no requests."""

import time

import grpc
import pytest

from recsys.client import RecsysClient
from recsys.errors import DeadlinePassed, InvalidRequest, Overloaded
from recsys.reasons import Reason
from recsys.service.interceptors.admission import DRAINING
from recsys.v1 import ranking_service_pb2_grpc
from recsys.wire.ranking import rank_request_to_wire
from recsys.wire.statuses import error_of

GIVE_UP_S = 60.0


def test_a_call_whose_deadline_passes_is_dropped(live, client, candidate, calling):
    live.scorer.is_open.clear()
    first = calling(client.rank, "ann", [candidate("a", 1)])
    assert live.scorer.is_entered.wait(GIVE_UP_S)

    with pytest.raises(DeadlinePassed):
        client.rank("bob", [candidate("a", 1)], timeout_s=2.0)  # the server has to see it

    live.until(lambda: live.num_answered("RankCandidates", "DEADLINE_EXCEEDED") == 1)
    live.scorer.is_open.set()
    assert first.result().candidates[0].rank == 1
    client.rank("eve", [candidate("a", 1)])  # after it in the queue: what is dropped is past by now
    assert live.scorer.num_scored == 2


def test_the_deadline_reaches_the_ranker(live, client, candidate):
    seen = []
    rank = live.ranker.rank

    async def note(user_id, candidates, *, audience, deadline):
        seen.append(deadline)
        return await rank(user_id, candidates, audience=audience, deadline=deadline)

    live.ranker.rank = note
    before = time.monotonic()

    client.rank("ann", [candidate("a", 1)], timeout_s=1000.0)

    assert before < seen[0] <= time.monotonic() + 1010  # gRPC rounds 1000 s up to tens


def test_a_cancelled_call_is_dropped(live, client, channel, candidate, calling):
    live.scorer.is_open.clear()
    first = calling(client.rank, "ann", [candidate("a", 1)])
    assert live.scorer.is_entered.wait(GIVE_UP_S)
    stub = ranking_service_pb2_grpc.RankingServiceStub(channel)
    second = stub.RankCandidates.future(rank_request_to_wire("bob", [candidate("a", 1)]))
    live.until(lambda: live.engine.stats.queue_length == 1)

    second.cancel()

    live.until(lambda: live.engine.stats.num_cancelled == 1)
    live.until(lambda: live.num_answered("RankCandidates", "CANCELLED") == 1)
    live.scorer.is_open.set()
    first.result()
    client.rank("eve", [candidate("a", 1)])
    assert live.scorer.num_scored == 2


def test_a_full_queue_is_told(make_live, candidate, calling):
    live = make_live(max_queue=1)
    live.load()
    live.scorer.is_open.clear()
    with RecsysClient(live.address, timeout_s=GIVE_UP_S) as client:
        running = calling(client.rank, "ann", [candidate("a", 1)])
        assert live.scorer.is_entered.wait(GIVE_UP_S)
        waiting = calling(client.rank, "bob", [candidate("a", 1)])
        live.until(lambda: live.engine.stats.queue_length == 1)

        with pytest.raises(Overloaded) as refused:
            client.rank("eve", [candidate("a", 1)])

        assert refused.value.reason == Reason.OVERLOADED
        assert refused.value.retry_after_s > 0
        live.scorer.is_open.set()
        assert running.result().user_id == "ann"
        assert waiting.result().user_id == "bob"


def test_too_many_calls_at_once_are_told(make_live, candidate, calling):
    live = make_live(max_requests=1)
    live.load()
    live.scorer.is_open.clear()
    with RecsysClient(live.address, timeout_s=GIVE_UP_S) as client:
        running = calling(client.rank, "ann", [candidate("a", 1)])
        assert live.scorer.is_entered.wait(GIVE_UP_S)

        with pytest.raises(Overloaded, match="at most 1 ") as refused:
            client.get_user("ann")
        assert refused.value.retry_after_s == 1.0  # nothing is known of calls yet

        live.scorer.is_open.set()
        running.result()
        live.until(lambda: live.service._admission.num_calls == 0)
        assert client.rank("ann", [candidate("a", 1)]).user_id == "ann"


def test_limits_on_images_are_the_settings(make_live, candidate, png):
    live = make_live(max_image_pixels=47, max_candidates=2)
    live.load()
    with RecsysClient(live.address, timeout_s=GIVE_UP_S) as client:
        (ranked,) = client.rank("ann", [candidate("a", 1)]).candidates
        assert "at most 47 pixels" in ranked.message
        with pytest.raises(InvalidRequest, match="at most 47 pixels"):
            client.record_choice("ann", liked=png(1))
        with pytest.raises(InvalidRequest, match="1 to 2, got 3"):
            client.rank("ann", [candidate(str(n), 1) for n in range(3)])
        with pytest.raises(InvalidRequest, match="at most 2, got 3"):
            client.record_choice("ann", passed_over=[png(n) for n in range(3)])


def test_a_message_over_the_limit_is_the_callers_mistake(make_live, candidate):
    live = make_live(max_request_bytes=1000)
    live.load()
    with RecsysClient(live.address, timeout_s=GIVE_UP_S) as client:
        with pytest.raises(InvalidRequest, match="limit") as refused:
            client.rank("ann", [candidate("a", 1, prompt="p" * 2000)])
        assert refused.value.reason == Reason.REQUEST_TOO_LARGE

        assert client.rank("ann", [candidate("a", 1)]).candidates[0].rank == 1


def test_bytes_that_are_no_message_are_the_callers_mistake(live, channel):
    call = channel.unary_unary("/recsys.v1.RankingService/RankCandidates")

    with pytest.raises(grpc.RpcError) as refused:
        call(b"\x0a\xff\xff\xff\xff\x0f not a message", timeout=GIVE_UP_S)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert live.num_answered("RankCandidates", "INVALID_ARGUMENT") == 1


def test_text_that_is_no_utf8_is_the_callers_mistake(channel):
    call = channel.unary_unary("/recsys.v1.UserService/GetUser")

    with pytest.raises(grpc.RpcError) as refused:
        call(b"\x0a\x02\xc3\x28", timeout=GIVE_UP_S)

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    "method",
    [
        "RankingService/RankCandidates",
        "FeedbackService/RecordChoice",
        "UserService/GetUser",
        "UserService/ListChoices",
        "UserService/EraseUser",
        "UserService/RestoreUser",
        "UserService/UpdateConsent",
        "ImageService/RemoveImage",
        "ImageService/BlockImage",
        "ImageService/UnblockImage",
        "ImageService/ListBlockedImages",
        "SimilarityService/FindSimilarUsers",
        "SimilarityService/ListClusters",
        "SimilarityService/GetCluster",
        "SimilarityService/GetUserSignature",
    ],
)
def test_before_the_model_is_there_callers_are_told_to_wait(make_live, connect, method):
    channel = connect(make_live().address)

    with pytest.raises(grpc.RpcError) as refused:
        channel.unary_unary(f"/recsys.v1.{method}")(b"", timeout=GIVE_UP_S)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "loading" in refused.value.details()
    assert error_of(refused.value).reason == Reason.LOADING


def test_a_drain_lets_calls_finish_and_refuses_new_ones(live, client, connect, candidate, calling):
    live.scorer.is_open.clear()
    running = calling(client.rank, "ann", [candidate("a", 1)])
    assert live.scorer.is_entered.wait(GIVE_UP_S)
    draining = calling(live.run, live.service.drain(GIVE_UP_S))
    live.until(lambda: live.service._admission._why_closed == DRAINING)

    stub = ranking_service_pb2_grpc.RankingServiceStub(connect(live.address))
    with pytest.raises(grpc.RpcError) as refused:
        stub.RankCandidates(rank_request_to_wire("bob", [candidate("a", 1)]), timeout=GIVE_UP_S)

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "stopping" in refused.value.details()
    assert error_of(refused.value).reason == Reason.DRAINING
    live.scorer.is_open.set()
    assert running.result().user_id == "ann"
    draining.result()


def test_a_drain_out_of_time_answers_those_that_wait_unavailable(live, candidate, connect):
    live.scorer.is_open.clear()
    stub = ranking_service_pb2_grpc.RankingServiceStub(connect(live.address))
    calls = [
        stub.RankCandidates.future(rank_request_to_wire(user, [candidate("a", 1)]))
        for user in ("ann", "bob")
    ]
    assert live.scorer.is_entered.wait(GIVE_UP_S)
    live.until(lambda: live.service._admission.num_calls == 2)

    live.run(live.service.drain(0.0))

    failed = [call.exception(GIVE_UP_S) for call in calls]
    assert [each.code() for each in failed] == [grpc.StatusCode.UNAVAILABLE] * 2
    assert [error_of(each).reason for each in failed] == [Reason.DRAINING] * 2
