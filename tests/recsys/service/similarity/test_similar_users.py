"""FindSimilarUsers and GetUserSignature through a real channel, when all is well."""

import numpy as np
import pytest

from recsys.errors import PreconditionFailed
from recsys.reasons import Reason
from recsys.v1.similarity_service_pb2 import FindSimilarUsersRequest

VERSION = "fake-version"
DIMENSION = 8


def names(similar):
    return [each.user_id for each in similar.users]


def test_the_nearest_come_first_and_the_user_is_not_among_them(calls, people):
    similar = calls.find_similar_users("ann", k=10)

    assert names(similar) == ["bob", "dan", "cid", "eve"]
    similarities = [each.similarity for each in similar.users]
    assert similarities == pytest.approx(np.cos(np.deg2rad([10, 20, 40, 80])), abs=1e-5)
    assert (similar.user_id, similar.model_version, similar.revision) == ("ann", VERSION, 1)
    assert not similar.is_stale
    assert not similar.has_more


def test_fewer_than_all_may_be_asked_for(calls, people):
    similar = calls.find_similar_users("cid", k=2)

    assert names(similar) == ["dan", "bob"]
    assert similar.has_more


@pytest.mark.parametrize("page_size", [1, 2, 3, 4, 5, 2**31 - 1])
def test_pages_hold_each_user_once(stub, people, page_size):
    listed, token = [], ""
    while True:
        page = stub.FindSimilarUsers(
            FindSimilarUsersRequest(user_id="ann", page_size=page_size, page_token=token)
        )
        assert 1 <= len(page.users) <= page_size
        listed += [each.user_id for each in page.users]
        token = page.next_page_token
        if not token:
            break

    assert listed == ["bob", "dan", "cid", "eve"]


def test_nobody_is_found_before_anybody_else_has_a_signature(calls, choose):
    choose("ann", 1)
    choose("bob", 1)  # no signature of whom was ever asked for

    similar = calls.find_similar_users("ann", k=1000)

    assert similar.users == ()
    assert not similar.has_more


def test_a_missing_signature_is_computed_once_on_the_models_thread_and_stored(
    calls, choose, signing, signatures
):
    choose("ann", 90)

    current = calls.get_user_signature("ann")
    calls.find_similar_users("ann")

    assert current.signature.vector[:2] == pytest.approx([0, 1], abs=1e-6)
    assert current.signature.vector.shape == (DIMENSION,)
    assert not current.is_stale
    assert signatures.get("ann", VERSION).revision == 1
    assert signing.num_read == 1
    assert all(name.startswith("recsys-model") for name in signing.threads)


def test_after_another_choice_it_is_computed_anew(calls, people, choose, signatures):
    choose("ann", 80)

    similar = calls.find_similar_users("ann", k=1)

    assert names(similar) == ["eve"]
    assert similar.revision == 2
    assert signatures.get("ann", VERSION).revision == 2
    assert calls.find_similar_users("eve", k=1).users[0].user_id == "ann"


def test_nobody_is_listed_behind_the_last_rank(monkeypatch, stub, people):
    monkeypatch.setattr("recsys.similarity.search.MAX_RANK", 3)

    first = stub.FindSimilarUsers(FindSimilarUsersRequest(user_id="ann", page_size=2))
    rest = stub.FindSimilarUsers(
        FindSimilarUsersRequest(user_id="ann", page_size=2, page_token=first.next_page_token)
    )

    assert [each.user_id for each in rest.users] == ["cid"]
    assert rest.next_page_token == ""


def test_who_opts_out_has_no_neighbours_and_is_none(client, calls, people):
    calls.find_similar_users("ann")
    client.update_consent("bob", personalize=False)

    assert names(calls.find_similar_users("ann", k=10)) == ["dan", "cid", "eve"]
    for call in (calls.find_similar_users, calls.get_user_signature):
        with pytest.raises(PreconditionFailed, match="'bob' is not personalised") as refused:
            call("bob")
        assert refused.value.reason == Reason.PERSONALIZATION_OFF
