"""protobuf <-> records: what goes out comes back the same."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.ranking.candidates import (
    Candidate,
    CandidateStatus,
    Personalization,
    RankedCandidate,
    Ranking,
)
from recsys.recording import NewChoice
from recsys.v1 import ranking_service_pb2 as ranking_pb2
from recsys.wire import choices as choice_wire
from recsys.wire import ranking as wire
from recsys.wire import users as user_wire
from storage.records import Choice, Erased, StoredChoice, UserSummary

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
SHA256 = st.text("0123456789abcdef", min_size=64, max_size=64)
SOURCE = st.binary(max_size=20) | SHA256
INSTANT = st.datetimes(datetime(1970, 1, 1), datetime(9999, 1, 1), timezones=st.just(UTC))
COUNT = st.integers(0, 2**63 - 1)

CANDIDATE = st.builds(Candidate, TEXT, TEXT, image=st.none() | st.binary(max_size=20)) | st.builds(
    Candidate, TEXT, TEXT, sha256=SHA256
)
RANKED = st.builds(
    RankedCandidate,
    TEXT,
    st.none() | st.floats(0, 1),
    st.none() | st.integers(1, 1000),
    st.sampled_from(CandidateStatus),
    TEXT,
)
# Not built by the strategy: checking a tuple's type while tests run looks at a random item of it,
# which Hypothesis does not allow inside of strategies.
RANKING_FIELDS = st.tuples(
    TEXT,
    TEXT,
    st.sampled_from(Personalization),
    st.integers(0, 32),
    st.lists(RANKED, max_size=5).map(tuple),
)
NEW_CHOICE_FIELDS = st.tuples(
    TEXT,
    st.none() | SOURCE,
    st.lists(SOURCE, max_size=4).map(tuple),
    TEXT,
    st.none() | INSTANT,
    st.none() | TEXT.filter(bool),
)
CHOICE = st.builds(
    Choice,
    st.just("ann"),
    st.none() | SHA256,
    st.lists(SHA256, max_size=4).map(tuple),
    TEXT,
    INSTANT,
    TEXT,
    st.none() | TEXT.filter(bool),
)
STORED = st.builds(StoredChoice, COUNT, COUNT, CHOICE)
USER = st.builds(UserSummary, TEXT, COUNT, COUNT, COUNT, INSTANT, st.none() | INSTANT)
TEXTS = st.lists(TEXT).map(tuple)
ERASED = st.builds(Erased, COUNT, COUNT, COUNT, COUNT, TEXTS, TEXTS)


def through_bytes(message):
    return type(message).FromString(message.SerializeToString())


@given(st.lists(CANDIDATE, max_size=4))
def test_candidates(candidates):
    request = through_bytes(wire.rank_request_to_wire("ann", candidates))

    assert wire.candidates_from_wire(request) == candidates


@given(RANKING_FIELDS)
def test_rankings(fields):
    ranking = Ranking(*fields)

    assert wire.ranking_from_wire(through_bytes(wire.ranking_to_wire(ranking))) == ranking


@given(NEW_CHOICE_FIELDS)
def test_new_choices(fields):
    new = NewChoice(*fields)
    message = through_bytes(choice_wire.new_choice_to_wire(new))

    assert choice_wire.new_choice_from_wire(message) == new


@given(STORED)
def test_stored_choices(stored):
    message = through_bytes(choice_wire.choice_to_wire(stored))

    assert choice_wire.choice_from_wire(message, "ann") == stored


@given(USER)
def test_users(user):
    assert user_wire.user_from_wire(through_bytes(user_wire.user_to_wire(user))) == user


@given(ERASED)
def test_erased(erased):
    message = through_bytes(user_wire.erased_to_wire(erased))

    assert user_wire.erased_from_wire(message) == erased


@pytest.mark.parametrize(
    ("enum", "prefix", "members"),
    [
        (ranking_pb2.CandidateStatus, "CANDIDATE_STATUS_", CandidateStatus),
        (ranking_pb2.Personalization, "PERSONALIZATION_", Personalization),
    ],
    ids=["status", "personalization"],
)
def test_both_sides_know_the_same_names(enum, prefix, members):
    assert {name.removeprefix(prefix) for name in enum.keys()} == {  # noqa: SIM118
        "UNSPECIFIED",
        *(member.value for member in members),
    }


def test_a_score_of_nothing_is_not_a_missing_one():
    """In proto3 an unset number reads as 0 unless it is declared optional."""
    ranked = RankedCandidate("a", 0.0, None, CandidateStatus.RANKED)
    message = wire.ranking_to_wire(Ranking("u", "v", Personalization.WARM, 8, (ranked,)))

    assert message.candidates[0].HasField("score")
    assert not message.candidates[0].HasField("rank")
