"""Health and reflection through a real channel."""

import shutil

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from recsys._loading import LoadedModel
from recsys.errors import RecsysError, Unavailable
from recsys.reasons import Reason
from storage.errors import StorageUnavailable

GIVE_UP_S = 60.0
SERVING = HealthCheckResponse.SERVING
NOT_SERVING = HealthCheckResponse.NOT_SERVING
NAMES = (
    "",
    "recsys.v1.RankingService",
    "recsys.v1.FeedbackService",
    "recsys.v1.UserService",
    "recsys.v1.SimilarityService",
    "recsys.v1.ImageService",
)


def check(channel, name=""):
    return HealthStub(channel).Check(HealthCheckRequest(service=name), timeout=GIVE_UP_S).status


def watch(channel, name=""):
    stream = HealthStub(channel).Watch(HealthCheckRequest(service=name), timeout=GIVE_UP_S)
    return (each.status for each in stream), stream


@pytest.mark.parametrize("name", NAMES)
def test_it_serves_only_once_a_forward_pass_has_run(make_live, connect, name):
    live = make_live()
    channel = connect(live.address)
    assert check(channel, name) == NOT_SERVING
    statuses, _ = watch(channel, name)
    assert next(statuses) == NOT_SERVING

    live.load()

    assert next(statuses) == SERVING
    assert check(channel, name) == SERVING


def test_a_model_that_cannot_score_never_serves(make_live, connect):
    live = make_live()
    live.scorer.is_broken = True

    with pytest.raises(RuntimeError, match="device lost"):
        live.load()

    assert check(connect(live.address)) == NOT_SERVING


def test_a_checkpoint_that_cannot_be_loaded_never_serves(make_live, connect):
    def load(_runtime) -> LoadedModel:
        raise OSError("truncated")

    live = make_live(load=load)

    with pytest.raises(OSError, match="truncated"):
        live.load()

    assert check(connect(live.address)) == NOT_SERVING


def test_a_failing_model_turns_health_red_and_a_well_one_green(live, connect, client, candidate):
    statuses, _ = watch(connect(live.address))
    assert next(statuses) == SERVING

    live.scorer.is_broken = True
    for _ in range(3):
        with pytest.raises(RecsysError):
            client.rank("ann", [candidate("a", 1)])
    assert next(statuses) == NOT_SERVING

    live.scorer.is_broken = False
    live.run(live.engine.probe())
    assert next(statuses) == SERVING


def test_a_database_that_is_gone_turns_every_service_red_until_it_is_back(
    live, connect, client, candidate, tmp_path
):
    channel = connect(live.address)
    watched = [watch(channel, name)[0] for name in NAMES]
    assert [next(statuses) for statuses in watched] == [SERVING] * len(NAMES)
    path = live.store.database.path

    path.rename(tmp_path / "elsewhere.db")
    assert [next(statuses) for statuses in watched] == [NOT_SERVING] * len(NAMES)
    assert live.service.metrics.registry.get_sample_value("recsys_database_up") == 0

    (tmp_path / "elsewhere.db").rename(path)
    assert [next(statuses) for statuses in watched] == [SERVING] * len(NAMES)
    assert live.service.metrics.registry.get_sample_value("recsys_database_up") == 1
    assert client.rank("ann", [candidate("a", 1)]).candidates[0].rank == 1


@pytest.mark.parametrize("is_replaced", [False, True])
def test_no_call_is_answered_from_a_database_that_was_moved_or_replaced(
    live, client, candidate, png, tmp_path, is_replaced
):
    def record():
        return client.record_choice("ann", liked=png(200), passed_over=[png(1)], prompt="a cat")

    record()
    client.rank("ann", [candidate("a", 1)])
    path, elsewhere = live.store.database.path, tmp_path / "elsewhere.db"
    path.rename(elsewhere)
    if is_replaced:
        shutil.copy(elsewhere, path)

    with pytest.raises(Unavailable, match="was moved or replaced") as refused:
        record()
    assert refused.value.reason == Reason.STORAGE_UNAVAILABLE
    with pytest.raises(Unavailable, match="show the default order") as refused:
        client.rank("ann", [candidate("a", 1)])
    assert refused.value.reason == Reason.STORAGE_UNAVAILABLE
    live.until(lambda: live.service.metrics.registry.get_sample_value("recsys_database_up") == 0)

    elsewhere.replace(path)
    assert record().stored.revision == 2
    assert client.rank("ann", [candidate("a", 1)]).num_references == 2


def test_a_ranking_without_a_database_says_what_is_left(live, client, candidate, monkeypatch):
    def read(*_: object, **__: object) -> None:
        raise StorageUnavailable("no answer")

    monkeypatch.setattr(live.ranker._histories, "read", read)

    with pytest.raises(Unavailable, match="show the default order") as refused:
        client.rank("ann", [candidate("a", 1)])
    assert refused.value.reason == Reason.STORAGE_UNAVAILABLE
    assert refused.value.retry_after_s == 5.0


def test_a_watcher_that_leaves_does_not_make_others_deaf(make_live, connect):
    live = make_live()
    staying, _ = watch(connect(live.address))
    leaving, stream = watch(connect(live.address))
    assert next(staying) == next(leaving) == NOT_SERVING

    stream.cancel()
    live.until(stream.done)
    live.load()

    assert next(staying) == SERVING


def test_the_drain_flips_health_first_and_ends_the_watchers(
    live, connect, client, candidate, calling
):
    channel = connect(live.address)
    statuses, _ = watch(channel)
    assert next(statuses) == SERVING
    live.scorer.is_open.clear()
    running = calling(client.rank, "ann", [candidate("a", 1)])
    assert live.scorer.is_entered.wait(GIVE_UP_S)

    draining = calling(live.run, live.service.drain(GIVE_UP_S))

    assert next(statuses) == NOT_SERVING
    assert check(channel) == NOT_SERVING  # still answered, while a call is finishing
    live.scorer.is_open.set()
    assert running.result().user_id == "ann"
    draining.result()
    assert list(statuses) == []


def test_an_unknown_service_is_not_found(live, channel):
    with pytest.raises(grpc.RpcError) as refused:
        check(channel, "recsys.v1.NoService")
    statuses, _ = watch(channel, "recsys.v1.NoService")

    assert refused.value.code() is grpc.StatusCode.NOT_FOUND
    assert next(statuses) == HealthCheckResponse.SERVICE_UNKNOWN


def test_health_answers_when_the_service_is_full(make_live, connect):
    live = make_live(max_requests=1)
    live.load()
    channel = connect(live.address)
    call = channel.unary_unary("/recsys.v1.UserService/GetUser")
    with live.service._admission.entered():
        with pytest.raises(grpc.RpcError) as refused:
            call(b"", timeout=GIVE_UP_S)
        assert refused.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        assert check(channel) == SERVING


def test_reflection_lists_the_services(live, channel):
    asked = ServerReflectionRequest(list_services="")
    (answer,) = ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))

    names = {each.name for each in answer.list_services_response.service}
    assert names == {
        *NAMES[1:],
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
    }


def test_reflection_knows_the_messages(live, channel):
    asked = ServerReflectionRequest(file_containing_symbol="recsys.v1.RankingService")
    (answer,) = ServerReflectionStub(channel).ServerReflectionInfo(iter([asked]))

    assert any(
        b"RankCandidates" in each for each in answer.file_descriptor_response.file_descriptor_proto
    )
