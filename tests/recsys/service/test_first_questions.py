"""SuggestOnboarding through a real channel."""

import grpc
import pytest

from recsys.client import RecsysClient
from recsys.errors import ErasedUser, InvalidRequest, PreconditionFailed
from recsys.reasons import Reason
from recsys.v1.ranking_service_pb2 import SuggestOnboardingRequest
from recsys.v1.ranking_service_pb2_grpc import RankingServiceStub
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.coldstart.records import FirstQuestion, FirstQuestions
from storage.sharing import ImageSharing

NUM_LEARNED = 8


@pytest.fixture
def live(make_live):
    """Each pair was seen by one person, who may be told of with the prompt."""
    made = make_live(share_min_users=1, share_prompts=True)
    made.load()
    return made


@pytest.fixture
def learn(live, client, png):
    """Eight people choose, one pair each; those pairs are learned for a model version."""

    def learn(version: str = "fake-version") -> FirstQuestions:
        pairs = []
        for n in range(NUM_LEARNED):
            liked, passed = png(2 * n), png(2 * n + 1)
            stored = client.record_choice(
                f"u{n}", liked=liked, passed_over=[passed], prompt=f"{n}", shareable=True
            )
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


def test_images_that_may_be_shown_no_more_are_left_out(live, client, learn) -> None:
    learned = learn()
    sharing = ImageSharing(live.store.database)
    sharing.mark([learned.pairs[0].first_sha256, learned.pairs[2].second_sha256], shareable=False)
    left = [pair for n, pair in enumerate(learned.pairs) if n not in (0, 2)]
    told = client.suggest_first_questions(8).pairs
    assert list(told) == left
    # Information is that of the list as it was learned: pairs that are left out count.
    assert [pair.information_bits for pair in told] == [n / 4 for n in (1, 3, 4, 5, 6, 7)]
    sharing.mark(None, shareable=False)
    with pytest.raises(PreconditionFailed, match="recsys images share") as refused:
        client.suggest_first_questions()
    assert refused.value.reason == Reason.NOTHING_LEARNED


def test_images_that_few_have_seen_and_prompts_are_not_shown_by_default(make_live, png) -> None:
    live = make_live()
    live.load()
    with RecsysClient(live.address) as client:
        for user in ("ann", "bob"):
            stored = client.record_choice(
                user, liked=png(1), passed_over=[png(2)], prompt="of mine", shareable=True
            ).stored.choice
        pair = FirstQuestion(stored.liked, stored.passed_over[0], "of mine", 1.0)
        questions = FirstQuestions("a population", (pair,))
        cold_starts = ColdStartStore(live.store.database)
        cold_starts.put(StoredColdStart("fake-version", 8, 8, b"", questions))
        with pytest.raises(PreconditionFailed, match="seen by 3 users or more"):
            client.suggest_first_questions()
        client.record_choice("cyd", liked=png(2), passed_over=[png(1)], prompt="another")
        (told,) = client.suggest_first_questions().pairs
        assert told == FirstQuestion(pair.first_sha256, pair.second_sha256, "", 1.0)


def test_a_prompt_is_shown_once_enough_people_have_seen_it(make_live, png) -> None:
    live = make_live(share_min_users=2, share_prompts=True)
    live.load()
    with RecsysClient(live.address) as client:

        def record(user: str, prompt: str):
            images = {"liked": png(1), "passed_over": [png(2)]}
            return client.record_choice(user, **images, prompt=prompt, shareable=True).stored.choice

        stored = record("ann", "of ann")
        record("bob", "of bob")
        pair = FirstQuestion(stored.liked, stored.passed_over[0], "of ann", 1.0)
        cold_starts = ColdStartStore(live.store.database)
        questions = FirstQuestions("a population", (pair,))
        cold_starts.put(StoredColdStart("fake-version", 8, 8, b"", questions))
        assert client.suggest_first_questions().pairs[0].prompt == ""
        record("cyd", "of ann")
        assert client.suggest_first_questions().pairs == (pair,)


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


def test_who_was_erased_is_asked_nothing_before_they_come_back(client, learn) -> None:
    learned = learn()
    left = tuple(pair for pair in learned.pairs if pair.prompt != "1")
    client.erase_user("u1")
    with pytest.raises(ErasedUser, match="'u1'"):
        client.suggest_first_questions(8, user_id="u1")
    client.restore_user("u1")
    assert client.suggest_first_questions(8, user_id="u1").pairs == left
