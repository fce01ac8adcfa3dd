"""SuggestOnboarding through a real channel."""

import grpc
import pytest

from recsys.client import RecsysClient
from recsys.errors import InvalidRequest, PreconditionFailed
from recsys.reasons import Reason
from recsys.v1.ranking_service_pb2 import SuggestOnboardingRequest
from recsys.v1.ranking_service_pb2_grpc import RankingServiceStub
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.coldstart.records import FirstQuestion, FirstQuestions

NUM_LEARNED = 8


@pytest.fixture
def learn(live, client, png):
    """Eight people choose, one pair each; those pairs are learned for a model version."""

    def learn(version: str = "fake-version") -> FirstQuestions:
        pairs = []
        for n in range(NUM_LEARNED):
            liked, passed = png(2 * n), png(2 * n + 1)
            stored = client.record_choice(f"u{n}", liked=liked, passed_over=[passed], prompt=f"{n}")
            choice = stored.stored.choice
            pairs.append(FirstQuestion(choice.liked, choice.passed_over[0], f"{n}", n / 4))
        questions = FirstQuestions("a population", tuple(pairs))
        cold_starts = ColdStartStore(live.store.database)
        cold_starts.put(StoredColdStart(version, 8, 8, b"", questions))
        return questions

    return learn


def test_the_first_few_are_told(client: RecsysClient, learn) -> None:
    learned = learn()
    assert client.suggest_first_questions(8) == learned
    assert client.suggest_first_questions() == FirstQuestions("a population", learned.pairs[:4])
    for count in (1, 3):
        assert client.suggest_first_questions(count).pairs == learned.pairs[:count]


@pytest.mark.parametrize("num_pairs", [-1, 9, 2**31 - 1])
def test_a_number_out_of_range_is_refused(client: RecsysClient, learn, num_pairs: int) -> None:
    learn()
    with pytest.raises(InvalidRequest, match=f"1 to 8, or 0 for 4, got {num_pairs}") as refused:
        client.suggest_first_questions(num_pairs)
    assert refused.value.field == "num_pairs"


def test_a_number_that_cannot_be_sent_is_refused_alike(client: RecsysClient) -> None:
    with pytest.raises(InvalidRequest, match="numbers in range"):
        client.suggest_first_questions(2**31)


def test_before_anything_was_learned_it_tells_what_to_run(client, channel) -> None:
    with pytest.raises(PreconditionFailed, match="run `recsys coldstart fit`"):
        client.suggest_first_questions()
    with pytest.raises(grpc.RpcError) as failed:
        RankingServiceStub(channel).SuggestOnboarding(SuggestOnboardingRequest())
    assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION


def test_what_was_learned_for_another_model_version_is_not_told(client, learn) -> None:
    learn("another-version")
    with pytest.raises(PreconditionFailed, match="model version fake-version"):
        client.suggest_first_questions()


def test_erased_images_are_left_out_and_the_next_pairs_step_up(client, learn) -> None:
    learned = learn()
    client.erase_user("u1")
    left = [pair for pair in learned.pairs if pair.prompt != "1"]
    assert list(client.suggest_first_questions(3).pairs) == left[:3]
    assert list(client.suggest_first_questions(8).pairs) == left
    for n in range(NUM_LEARNED):
        if n != 1:
            client.erase_user(f"u{n}")
    with pytest.raises(PreconditionFailed, match="run `recsys coldstart fit`"):
        client.suggest_first_questions()


def test_what_is_learned_while_it_serves_is_told_from_then_on(client, learn) -> None:
    with pytest.raises(PreconditionFailed):
        client.suggest_first_questions()
    learned = learn()
    assert client.suggest_first_questions(8) == learned


def test_before_the_model_is_loaded(make_live, connect) -> None:
    live = make_live()
    with pytest.raises(grpc.RpcError) as failed:
        RankingServiceStub(connect(live.address)).SuggestOnboarding(SuggestOnboardingRequest())
    assert failed.value.code() is grpc.StatusCode.UNAVAILABLE
    live.load()
    with RecsysClient(live.address) as client, pytest.raises(PreconditionFailed):
        client.suggest_first_questions()


def test_who_opted_out_is_asked_nothing(client, learn) -> None:
    learned = learn()
    client.update_consent("u1", personalize=False)
    with pytest.raises(PreconditionFailed, match="'u1' is not personalised") as refused:
        client.suggest_first_questions(user_id="u1")
    assert refused.value.reason == Reason.PERSONALIZATION_OFF
    for user_id in ("", "u2", "nobody"):
        assert client.suggest_first_questions(8, user_id=user_id) == learned
    with pytest.raises(InvalidRequest) as bad:
        client.suggest_first_questions(user_id="a\n")
    assert bad.value.field == "user_id"
