"""Several audiences of one server: the shipped model, adaptations of it, and a real channel."""

from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path

import pytest
import torch

from recsys.client import RecsysClient
from recsys.coldstart.data import read_user_pairs, token_reader
from recsys.coldstart.fit import fit_cold_start
from recsys.errors import CheckpointRefused, InvalidRequest, PreconditionFailed
from recsys.images.reader import ImageReader
from recsys.ranking.candidates import Candidate, Ranking
from recsys.reasons import Reason
from recsys.runtime import Runtime, load_model
from recsys.scorer.borrowed import NOTHING_BORROWED
from recsys.scorer.checkpoint import checkpoint_version, load_scorer
from recsys.settings import Settings
from recsys.v1.ranking_service_pb2 import RankCandidatesRequest
from recsys.v1.ranking_service_pb2_grpc import RankingServiceStub
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.coldstart.records import FirstQuestion, FirstQuestions
from storage.signatures import SignatureStore

GIVE_UP_S = 60.0
OWN = ""
AUDIENCES = (OWN, "north", "south")
USERS = ("ann", "bob", "new")


@pytest.fixture
def checkpoints(tiny_adaptations: dict[str, Path]) -> dict[str, str]:
    return {OWN: "tiny", **{name: str(path) for name, path in tiny_adaptations.items()}}


@pytest.fixture
def make(make_live, checkpoints, tmp_path: Path) -> Callable[..., object]:
    """Serve the shipped checkpoint with both audiences, or as the settings say."""

    def make(**settings: object):
        named = ",".join(f"{name}={each}" for name, each in checkpoints.items() if name)
        folder = {"index_folder": str(tmp_path / "index")}
        live = make_live(load=load_model, **({"audiences": named} | folder | settings))
        live.load()
        return live

    return make


@pytest.fixture
def live(make):
    return make()


@pytest.fixture
def people(client: RecsysClient, png) -> None:
    """Ann has as many pairs as the model reads, bob has one, of other images."""
    for shade in range(8):
        client.record_choice("ann", liked=png(250 - shade), passed_over=[png(5 + shade)])
    client.record_choice("bob", liked=png(20), passed_over=[png(130)], prompt="a dog")


@pytest.fixture
def candidates(candidate) -> list[Candidate]:
    return [candidate(f"c{shade}", shade) for shade in range(0, 256, 15)]


def url_of(live) -> str:
    return live.store.database.url.render_as_string(hide_password=False)


def scores(ranking: Ranking) -> dict[str, float]:
    return {each.id: each.score for each in ranking.candidates}


def test_it_ranks_as_a_server_of_each_checkpoint_does(
    live, client, people, make, checkpoints, candidates
) -> None:
    told = set()
    for audience, checkpoint in checkpoints.items():
        alone = make(checkpoint=checkpoint, audiences=None, database_url=url_of(live))
        with RecsysClient(alone.address, timeout_s=GIVE_UP_S) as other:
            for user in USERS:
                here = client.rank(user, candidates, audience=audience)
                there = other.rank(user, candidates)
                assert scores(here) == pytest.approx(scores(there), abs=1e-6)
                assert here.model_version == there.model_version == checkpoint_version(checkpoint)
                assert here.num_references == there.num_references
                told.add((audience, tuple(round(each, 3) for each in scores(here).values())))
    assert len(told) == len(AUDIENCES) * len(USERS), "nobody's scores are another's"


def test_calls_of_all_audiences_at_once_are_answered_as_alone(
    live, client, people, candidates, calling
) -> None:
    asked = [(user, audience) for user in USERS for audience in AUDIENCES]
    alone = {each: scores(client.rank(each[0], candidates, audience=each[1])) for each in asked}
    live.engine._cache._entries.clear()
    calls = {
        (each, n): calling(client.rank, each[0], candidates, audience=each[1])
        for n in range(3)
        for each in asked
    }
    for (each, _), call in calls.items():
        assert scores(call.result()) == pytest.approx(alone[each], abs=1e-6)


def test_what_is_kept_of_a_user_is_kept_for_each_audience_and_goes_with_the_user(
    live, client, people, candidates
) -> None:
    for _ in range(2):
        for audience in AUDIENCES:
            client.rank("ann", candidates, audience=audience)
    stats = live.engine.stats
    assert (stats.cache_entries, stats.cache_misses, stats.cache_hits) == (3, 3, 3)
    assert stats.cache_bytes <= 3 * live.service._runtime.model.max_prefix_bytes
    client.erase_user("ann")
    assert live.engine.stats.cache_entries == 0


def test_an_image_is_encoded_once_for_all_audiences(live, client, candidates) -> None:
    client.rank("new", candidates)
    tokens = live.service._served.model.image_tokens
    num_misses = tokens.stats().num_misses
    for audience in AUDIENCES:
        client.rank("new", candidates, audience=audience)
    assert tokens.stats().num_misses == num_misses


def test_memory_holds_one_copy_of_the_weights(live, checkpoints) -> None:
    def weights(*scorers: torch.nn.Module) -> dict[int, int]:
        """Bytes of each storage."""
        tensors = chain.from_iterable(chain(s.parameters(), s.buffers()) for s in scorers)
        storages = [each.untyped_storage() for each in tensors]
        return {each.data_ptr(): each.nbytes() for each in storages}

    model = live.service._runtime.model
    base, all_of_them = weights(model.scorer), weights(model.scorer, *model.audiences.values())
    assert set(base) < set(all_of_them)
    one = model.scorer.preference_tokens.untyped_storage().nbytes()
    assert sum(all_of_them.values()) == sum(base.values()) + 2 * one
    assert one < sum(base.values()) / 100


def test_an_unknown_audience_is_refused_with_the_known_ones(client, candidate) -> None:
    asked = [candidate("a", 10)]
    for audience in ("east", "NORTH", "x" * 10_000):
        for call in (
            lambda audience=audience: client.rank("ann", asked, audience=audience),
            lambda audience=audience: client.suggest_first_questions(audience=audience),
        ):
            with pytest.raises(InvalidRequest, match="one of north, south, or empty; got") as told:
                call()
            assert told.value.field == "audience"
            assert told.value.reason == Reason.AUDIENCE_UNKNOWN
            assert len(str(told.value)) < 200


def test_a_server_without_audiences_refuses_every_name(make, candidate) -> None:
    with RecsysClient(make(audiences=None).address, timeout_s=GIVE_UP_S) as client:
        assert client.rank("ann", [candidate("a", 10)])
        with pytest.raises(InvalidRequest, match="audience must be empty"):
            client.rank("ann", [candidate("a", 10)], audience="north")


def test_a_client_that_knows_no_audiences_gets_the_servers_own(
    live, client, candidate, connect
) -> None:
    request = RankCandidatesRequest(user_id="new")
    request.candidates.add(id="a", image={"data": candidate("a", 10).image}, prompt="a cat")
    answer = RankingServiceStub(connect(live.address)).RankCandidates(request)
    assert answer.model_version == checkpoint_version("tiny")


def test_rankings_are_counted_by_audience_and_each_model_version_is_told(
    live, client, candidate, checkpoints
) -> None:
    for audience in ("north", "north", OWN):
        client.rank("new", [candidate("a", 10)], audience=audience)
    with pytest.raises(InvalidRequest):
        client.rank("new", [candidate("a", 10)], audience="east")
    value = live.service.metrics.registry.get_sample_value
    rankings = {
        audience: value(
            "recsys_rankings_total", {"personalization": "COLD_START", "audience": audience}
        )
        for audience in (*AUDIENCES, "east")
    }
    assert rankings == {OWN: 1, "north": 2, "south": None, "east": None}
    for audience, checkpoint in checkpoints.items():
        labels = {"audience": audience, "model_version": checkpoint_version(checkpoint)}
        assert value("recsys_model_info", labels) == 1


# Signatures: everybody's are read with the server's own preference tokens, in one index


@pytest.fixture
def backfill(live, tmp_path: Path) -> Iterator[Callable[[str], str]]:
    """Compute everybody's signatures by a checkpoint, as `recsys backfill` does; their version."""
    opened = []

    def backfill(checkpoint: str) -> str:
        settings = Settings(
            database_url=url_of(live), blob_url=f"file://{tmp_path}/blobs", checkpoint=checkpoint
        )
        opened.append(Runtime(settings))
        summary = opened[-1].backfill().run()
        assert (summary.num_skipped, summary.num_failed) == (0, 0)
        return summary.model_version

    yield backfill
    for runtime in opened:
        runtime.close()


def test_signatures_are_of_the_servers_own_definition_and_meet_no_other(
    live, client, people, checkpoints, backfill, candidates, monkeypatch
) -> None:
    monkeypatch.setattr("recsys.similarity.index.FRESH_S", 0.0)
    other = backfill(checkpoints["north"])
    for audience in AUDIENCES:
        client.rank("ann", candidates, audience=audience)
    before = client.similarity.find_similar_users("ann")
    assert before.users == (), "bob has a signature of the north's alone"
    assert other != backfill(checkpoints[OWN])
    (found,) = client.similarity.find_similar_users("ann").users
    ann, bob = (client.similarity.get_user_signature(user).signature for user in ("ann", "bob"))
    own = live.service._runtime.signature_reader.model_version
    assert {ann.model_version, bob.model_version, before.model_version} == {own}
    assert found.user_id == "bob"
    assert found.similarity == pytest.approx(float(ann.vector @ bob.vector), abs=1e-5)
    theirs = SignatureStore(live.store.database)
    vectors = [theirs.get(user, other).vector for user in ("ann", "bob")]
    assert float(vectors[0] @ vectors[1]) != pytest.approx(found.similarity, abs=1e-3)


# Cold start: each audience borrows what was learned for its own model version


@pytest.fixture
def learn(make, png) -> Callable[[Path], tuple[str, str]]:
    """Forty people like the brighter image; fit that for a checkpoint.

    Returns the URL of their database, and the version of what was learned.
    """

    def learn(checkpoint: Path) -> tuple[str, str]:
        live = make(checkpoint=str(checkpoint), audiences=None)
        with RecsysClient(live.address, timeout_s=GIVE_UP_S) as client:
            for n in range(120):
                liked, passed_over = png(140 + n * 37 % 116), [png(n * 23 % 110)]
                client.record_choice(
                    f"u{n % 40}", liked=liked, passed_over=passed_over, shareable=True
                )
        scorer = load_scorer(checkpoint)
        users = read_user_pairs(live.store, max_users=40, seed=0)
        reader = ImageReader(live.store, live.service._runtime.image_limits)
        learned, report = fit_cold_start(
            scorer, users.histories, token_reader(scorer, reader, users.images)
        )
        question = FirstQuestion(users.images[0], users.images[1], "", 0.5)
        ColdStartStore(live.store.database).put(
            StoredColdStart(
                scorer.model_version,
                report.num_users,
                report.num_pairs,
                learned.to_bytes(),
                FirstQuestions(learned.version, (question,)),
            )
        )
        return url_of(live), learned.version

    return learn


def test_an_audience_borrows_what_was_learned_for_it_as_a_server_of_its_own_does(
    learn, make, small_checkpoint, small_adaptations, candidates
) -> None:
    """With small models, which leave others' taste something to add."""
    north, south = small_adaptations.values()
    url, version = learn(north)
    live = make(
        database_url=url,
        checkpoint=str(small_checkpoint),
        audiences=f"north={north},south={south}",
        share_min_users=1,
    )
    alone = make(database_url=url, audiences=None, checkpoint=str(north))
    with (
        RecsysClient(live.address, timeout_s=GIVE_UP_S) as client,
        RecsysClient(alone.address, timeout_s=GIVE_UP_S) as other,
    ):
        for user in ("new", "u7"):
            here = client.rank(user, candidates, audience="north")
            there = other.rank(user, candidates)
            assert here.borrowed == there.borrowed
            assert here.borrowed.population_version == version
            assert here.borrowed.num_neighbours > 0
            assert scores(here) == pytest.approx(scores(there), abs=1e-6)
            for audience in (OWN, "south"):
                ranking = client.rank(user, candidates, audience=audience)
                assert ranking.borrowed == NOTHING_BORROWED
        assert client.suggest_first_questions(audience="north").population_version == version
        for audience, folder in ((OWN, small_checkpoint), ("south", south)):
            named = checkpoint_version(folder)[:12]
            with pytest.raises(PreconditionFailed, match=f"none were learned .* {named}"):
                client.suggest_first_questions(audience=audience)


def test_what_is_no_adaptation_of_the_served_model_is_refused_at_the_start(
    make_live, small_checkpoint
) -> None:
    live = make_live(load=load_model, checkpoint="tiny", audiences=f"east={small_checkpoint}")
    with pytest.raises(CheckpointRefused) as refused:
        live.load()
    assert str(refused.value).startswith("the audience east cannot be served: ")
    assert "another base, adapter, tokenizer, geometry" in str(refused.value)


def test_an_audience_whose_folder_is_gone_is_refused_at_the_start(make_live, tmp_path) -> None:
    live = make_live(load=load_model, checkpoint="tiny", audiences=f"east={tmp_path}/none")
    with pytest.raises(CheckpointRefused, match=r"the audience east .* there is no checkpoint"):
        live.load()
