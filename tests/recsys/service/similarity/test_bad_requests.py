"""What cannot be answered, or only in part, for something is not there or not well."""

import base64
import threading

import grpc
import pytest

from recsys.client import RecsysClient
from recsys.errors import InvalidRequest, NotFound, PreconditionFailed, Unavailable
from recsys.reasons import Reason
from recsys.v1.similarity_service_pb2 import FindSimilarUsersRequest

GIVE_UP_S = 60.0
VERSION = "fake-version"


def names(similar):
    return [each.user_id for each in similar.users]


@pytest.mark.parametrize("method", ["find_similar_users", "get_user_signature"])
def test_an_unknown_user_is_not_found(calls, method):
    with pytest.raises(NotFound, match="nobody"):
        getattr(calls, method)("nobody")


@pytest.mark.parametrize("method", ["find_similar_users", "get_user_signature"])
@pytest.mark.parametrize("user_id", ["", "u" * 1000, "line\n"])
def test_a_bad_user_id_is_named(calls, method, user_id):
    with pytest.raises(InvalidRequest) as refused:
        getattr(calls, method)(user_id)

    assert refused.value.field == "user_id"


@pytest.mark.parametrize("method", ["find_similar_users", "get_user_signature"])
def test_a_user_without_a_pair_is_told_what_to_do(client, calls, stub, png, method):
    client.record_choice("ann", passed_over=[png(1)])
    client.record_choice("ann", liked=png(2))

    with pytest.raises(PreconditionFailed, match="record one first"):
        getattr(calls, method)("ann")
    with pytest.raises(grpc.RpcError) as refused:
        stub.FindSimilarUsers(FindSimilarUsersRequest(user_id="ann"))
    assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_a_stale_signature_is_served_and_says_so_when_images_cannot_be_reached(
    live, calls, people, choose, monkeypatch
):
    choose("ann", 80)
    monkeypatch.setattr(live.store, "image", broken)

    similar = calls.find_similar_users("ann", k=1)

    assert similar.is_stale
    assert (similar.revision, names(similar)) == (1, ["bob"])
    assert calls.get_user_signature("ann").is_stale
    registry = live.service.metrics.registry
    stale = registry.get_sample_value("recsys_signatures_total", {"freshness": "stale"})
    assert stale == 2


def test_without_any_signature_images_that_cannot_be_reached_are_told(
    live, stub, choose, monkeypatch
):
    choose("ann", 80)
    monkeypatch.setattr(live.store, "image", broken)

    with pytest.raises(grpc.RpcError) as refused:
        stub.FindSimilarUsers(FindSimilarUsersRequest(user_id="ann"))

    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE


def broken(sha256):
    raise OSError("the disk is away")


def test_a_model_that_fails_is_a_bug_and_tells_nothing(stub, choose, signing):
    choose("ann", 80)
    signing.before.append(lambda: (_ for _ in ()).throw(RuntimeError("hunter2")))

    with pytest.raises(grpc.RpcError) as failed:
        stub.FindSimilarUsers(FindSimilarUsersRequest(user_id="ann"))

    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert "hunter2" not in failed.value.details()


def test_an_erased_user_is_not_found_from_that_moment(client, calls, people):
    assert names(calls.find_similar_users("ann", k=1)) == ["bob"]

    client.erase_user("bob")

    assert names(calls.find_similar_users("ann", k=10)) == ["dan", "cid", "eve"]
    for call in (calls.find_similar_users, calls.get_user_signature):
        with pytest.raises(NotFound, match="'bob' was erased: they have no signature") as refused:
            call("bob")
        assert refused.value.reason == Reason.USER_NOT_FOUND


def test_a_user_erased_while_computed_leaves_no_signature(live, calls, choose, signing, signatures):
    choose("ann", 10)

    def erase_and_return():
        live.store.erase("ann")
        live.store.restore("ann")
        choose("ann", 70)

    signing.before.append(erase_and_return)
    with pytest.raises(NotFound):
        calls.get_user_signature("ann")

    assert signatures.get("ann", VERSION) is None
    signing.before.clear()
    assert calls.get_user_signature("ann").signature.revision == 1


def test_a_checkpoint_without_probes_is_told(make_live, png):
    live = make_live()
    live.load()
    with RecsysClient(live.address, timeout_s=GIVE_UP_S) as client:
        client.record_choice("ann", liked=png(1), passed_over=[png(2)])
        with pytest.raises(PreconditionFailed, match="checkpoint"):
            client.similarity.find_similar_users("ann")


def test_a_token_of_another_query_is_refused(stub, token, choose, refused_token):
    choose("ann", 10)  # another revision: another order

    for user in ("bob", "ann"):
        request = FindSimilarUsersRequest(user_id=user, page_token=token)
        refused_token(stub.FindSimilarUsers, request)


@pytest.mark.parametrize(
    "forged",
    ["forged", "é", base64.urlsafe_b64encode(bytes(24)).decode(), "A" * 100_000],
    ids=["forged", "no-ascii", "zeros", "long"],
)
def test_a_forged_token_is_refused(stub, token, forged, refused_token):
    for bad in (forged, token[:-1], token[4:]):
        request = FindSimilarUsersRequest(user_id="ann", page_token=bad)
        refused_token(stub.FindSimilarUsers, request)


def test_a_negative_page_size_is_refused(stub, people):
    with pytest.raises(grpc.RpcError) as refused:
        stub.FindSimilarUsers(FindSimilarUsersRequest(user_id="ann", page_size=-1))

    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_an_index_that_takes_long_is_not_waited_for(live, stub, people, monkeypatch):
    """Calls that wait would keep rankings out; one that failed to open is tried again."""
    similarity = live.service._served.model.similarity
    gate = threading.Event()
    opened = similarity.index()
    monkeypatch.setattr(similarity, "_patience_s", 0.01)
    monkeypatch.setattr(similarity, "_opening", similarity._builder.submit(gate.wait, 60))

    with pytest.raises(Unavailable, match="being built"):
        similarity.index()
    gate.set()
    failing = similarity._builder.submit(broken, "")
    assert isinstance(failing.exception(GIVE_UP_S), OSError)
    monkeypatch.setattr(similarity, "_patience_s", GIVE_UP_S)
    monkeypatch.setattr(similarity, "_opening", failing)

    assert similarity.index() is not opened
    assert similarity.index().size == len(people)


def test_a_client_needs_at_least_one(calls):
    with pytest.raises(InvalidRequest, match="k must be at least 1"):
        calls.find_similar_users("ann", k=0)
