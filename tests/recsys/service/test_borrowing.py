"""A stranger's ranking through a real channel: what is borrowed, what is told, and the switch."""

from datetime import UTC, datetime

import numpy as np
import pytest
import torch

from recsys._loading import LoadedModel
from recsys._loading import borrowing as borrowing_from
from recsys.client import RecsysClient
from recsys.coldstart.borrowing import BorrowingScorer
from recsys.coldstart.data import read_user_pairs, token_reader
from recsys.coldstart.fit import fit_cold_start
from recsys.errors import CheckpointRefused
from recsys.images.decode import ImageLimits, inspect
from recsys.images.reader import ImageReader
from recsys.ranking.candidates import Candidate, Personalization
from recsys.runtime import Runtime
from recsys.scorer.borrowed import NOTHING_BORROWED
from recsys.scorer.model import CandidateImage, PreferenceScorer
from recsys.settings import Settings
from recsys.v1.ranking_service_pb2 import RankCandidatesRequest
from recsys.v1.ranking_service_pb2_grpc import RankingServiceStub
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.records import Choice

NUM_PEOPLE = 40
NUM_PAIRS = 3


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    made = make_scorer(num_references=2, num_preference_tokens=3)
    made.model_version = "small"
    return made


def borrowing(runtime, scorer):
    return borrowing_from(runtime.settings, runtime.database, scorer)


@pytest.fixture
def runtime_of(make_live):
    """A service's storage, and how to open it by settings."""
    live = make_live()
    url = live.store.database.engine.url.render_as_string(hide_password=False)
    runtimes = []

    def runtime(**more):
        runtimes.append(Runtime(Settings(database_url=url, **more)))
        return runtimes[-1]

    yield live, runtime
    for each in runtimes:
        each.close()


@pytest.fixture
def serve(runtime_of, scorer):
    """Load the service's model as `recsys serve` does, with the settings given."""
    live, runtime = runtime_of

    def serve(**more):
        served = borrowing(runtime(**more), scorer)
        live.loaded = LoadedModel(served, scorer.config.num_references, scorer.geometry)
        live.load()
        return live

    return serve


@pytest.fixture
def learn(runtime_of, scorer, png):
    """Forty people like the brighter image; that is learned and stored. Returns its version."""

    def learn() -> str:
        store = runtime_of[0].store
        rng = np.random.default_rng(4)
        for n in range(NUM_PEOPLE):
            for _ in range(NUM_PAIRS):
                bright, dark = int(rng.integers(140, 256)), int(rng.integers(0, 110))
                remember(store, f"u{n}", png(bright), png(dark))
        users = read_user_pairs(store, max_users=NUM_PEOPLE, seed=0)
        read = token_reader(scorer, ImageReader(store, ImageLimits()), users.images)
        learned, report = fit_cold_start(scorer, users.histories, read)
        stored = StoredColdStart("small", report.num_users, report.num_pairs, learned.to_bytes())
        ColdStartStore(store.database).put(stored)
        return learned.version

    return learn


def remember(store, user: str, liked: bytes, passed_over: bytes) -> None:
    images = {}
    for data in (liked, passed_over):
        facts = inspect(data)
        images[facts.sha256] = (facts, data)
    first, second = images
    when = datetime(2026, 1, 1, tzinfo=UTC)
    store.append(Choice(user, first, (second,), "a cat", when, "test"), images)


SHADES = {"dark": 20, "middle": 120, "light": 240}


def candidates(candidate) -> list[Candidate]:
    return [candidate(name, shade) for name, shade in SHADES.items()]


def scores_of(ranking) -> dict[str, float]:
    return {each.id: each.score for each in ranking.candidates}


def own_scores(scorer) -> dict[str, float]:
    images = [torch.full((3, 6, 8), shade / 255) for shade in SHADES.values()]
    candidates = [CandidateImage(image, "a cat") for image in images]
    scores = scorer.score(scorer.prefix([]), candidates)
    return dict(zip(SHADES, scores.tolist(), strict=True))


def test_a_stranger_gets_what_people_like_and_is_told_how_many(
    serve, learn, candidate, scorer
) -> None:
    version = learn()
    with RecsysClient(serve().address) as client:
        ranking = client.rank("new", candidates(candidate))
    assert [each.id for each in ranking.candidates] == ["light", "middle", "dark"]
    assert ranking.personalization is Personalization.COLD_START
    assert ranking.num_references == 0
    assert ranking.borrowed.num_references == NUM_PEOPLE * NUM_PAIRS
    assert ranking.borrowed.num_neighbours == NUM_PEOPLE
    assert ranking.borrowed.population_version == version
    alone = own_scores(scorer)
    assert max(abs(score - alone[name]) for name, score in scores_of(ranking).items()) > 0.01


def test_with_one_pair_it_is_partial_and_still_borrowed(serve, learn, candidate, png) -> None:
    version = learn()
    with RecsysClient(serve().address) as client:
        before = client.rank("new", candidates(candidate))
        client.record_choice("new", liked=png(230), passed_over=[png(10)], prompt="a cat")
        after = client.rank("new", candidates(candidate))
    assert after.personalization is Personalization.PARTIAL
    assert after.num_references == 1
    assert 0 < after.borrowed.num_references <= NUM_PEOPLE * NUM_PAIRS
    assert 0 < after.borrowed.num_neighbours <= NUM_PEOPLE
    assert after.borrowed.population_version == version
    assert scores_of(after) != scores_of(before)


def test_switched_off_nothing_is_borrowed_and_scores_are_the_models_own(
    serve, learn, candidate, scorer
) -> None:
    learn()
    with RecsysClient(serve(cold_start=False).address) as client:
        ranking = client.rank("new", candidates(candidate))
    assert ranking.borrowed == NOTHING_BORROWED
    assert ranking.personalization is Personalization.COLD_START
    assert scores_of(ranking) == pytest.approx(own_scores(scorer), abs=1e-6)


def test_before_anything_was_learned_nothing_is_borrowed(serve, candidate, scorer) -> None:
    with RecsysClient(serve().address) as client:
        ranking = client.rank("new", candidates(candidate))
    assert ranking.borrowed == NOTHING_BORROWED
    assert scores_of(ranking) == pytest.approx(own_scores(scorer), abs=1e-6)


def test_on_the_wire_it_is_counts_and_never_names(serve, learn, candidate, connect, png) -> None:
    learn()
    request = RankCandidatesRequest(user_id="new")
    request.candidates.add(id="light", image={"data": png(240)}, prompt="a cat")
    answer = RankingServiceStub(connect(serve().address)).RankCandidates(request)
    assert answer.num_borrowed_references == NUM_PEOPLE * NUM_PAIRS
    assert answer.num_neighbours == NUM_PEOPLE
    said = str(answer)
    assert not [f"u{n}" for n in range(NUM_PEOPLE) if f'"u{n}"' in said]


def test_what_was_learned_for_another_model_version_is_not_borrowed(runtime_of, scorer) -> None:
    live, runtime = runtime_of
    ColdStartStore(live.store.database).put(StoredColdStart("another", 4, 4, b"junk"))
    assert borrowing(runtime(), scorer) is scorer


def test_a_database_that_is_not_there_lends_nothing(tmp_path, scorer) -> None:
    url = f"sqlite:///{tmp_path}/none.db"
    with Runtime(Settings(database_url=url)) as runtime:
        assert borrowing(runtime, scorer) is scorer
    assert not (tmp_path / "none.db").exists()


def test_damaged_it_is_refused_unless_it_is_switched_off(runtime_of, scorer) -> None:
    live, runtime = runtime_of
    ColdStartStore(live.store.database).put(StoredColdStart("small", 4, 4, b"junk"))
    with pytest.raises(CheckpointRefused, match="is damaged"):
        borrowing(runtime(), scorer)
    assert borrowing(runtime(cold_start=False), scorer) is scorer


def test_what_was_learned_is_served_by_a_scorer_that_borrows(runtime_of, learn, scorer) -> None:
    _, runtime = runtime_of
    learn()
    served = borrowing(runtime(), scorer)
    assert isinstance(served, BorrowingScorer)
    assert served.model_version == "small"
