"""Two definitions of the signature in one database: one is served, the other is built beside it.

The same small model with the same probes, of which either scores are read, or scores and attention;
vectors of both have as many numbers, so that nothing but the version keeps them apart.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

from recsys.client import RecsysClient
from recsys.clusters.build import build_clusters
from recsys.runtime import Runtime, load_model
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import load_scorer, save_scorer
from recsys.settings import Settings
from recsys.signatures.definition import Projection, Readout
from recsys.signatures.files import Probe, write_signature
from recsys.v1.similarity_service_pb2 import FindSimilarUsersRequest
from recsys.v1.similarity_service_pb2_grpc import SimilarityServiceStub
from storage.signatures import SignatureStore

GIVE_UP_S = 60.0
USERS = tuple(f"u{number:02}" for number in range(18))
HEADS = ((0, 1), (1, 2))
NUM_PROBES, NUM_TOKENS, DIMENSION = 4, 3, 5
OLD: Readout = "scores"
NEW: Readout = "both"


@pytest.fixture
def checkpoints(small_checkpoint: Path, tmp_path: Path, png) -> dict[Readout, Path]:
    """A folder for each definition; they differ in nothing but in which one is served."""
    rng = np.random.default_rng(3)

    def projection(width: int, heads: tuple[tuple[int, int], ...] = ()) -> Projection:
        weights = rng.normal(size=(width, DIMENSION))
        return Projection(np.zeros(width), np.ones(width), weights, heads=heads)

    attention = NUM_PROBES * len(HEADS) * NUM_TOKENS
    projections = {OLD: projection(NUM_PROBES), NEW: projection(NUM_PROBES + attention, HEADS)}
    probes = [Probe(png(60 * number), f"{number} fish") for number in range(NUM_PROBES)]
    scorer = load_scorer(small_checkpoint)
    for served in projections:
        save_scorer(
            scorer,
            tmp_path / served,
            base=BaseModel("base"),
            tokenizer=scorer.template._tokenizer,
            base_files=small_checkpoint / "base",
            write_more=lambda work, served=served: write_signature(
                work, probes, projections, num_orders=1, served=served
            ),
        )
    return {served: tmp_path / served for served in projections}


@pytest.fixture
def serve(make_live, checkpoints, tmp_path: Path, monkeypatch) -> Callable[..., Any]:
    """Serve a definition; all servers have one folder for the snapshots of their indexes."""
    monkeypatch.setattr("recsys.similarity.index.FRESH_S", 0.0)

    def serve(readout: Readout, **settings: object) -> Any:
        live = make_live(
            load=load_model,
            checkpoint=str(checkpoints[readout]),
            index_folder=str(tmp_path / "index"),
            **settings,
        )
        live.load()
        return live

    return serve


@pytest.fixture
def live(serve) -> Any:
    """The server of the old definition."""
    return serve(OLD)


@pytest.fixture
def people(client: RecsysClient, png) -> None:
    """Everybody likes two images of their own."""
    for number, user in enumerate(USERS):
        for shade in (20 + 12 * number, 255 - 7 * number):
            client.record_choice(
                user,
                liked=png(shade),
                passed_over=[png(shade // 2)],
                prompt=f"{shade} fish",
            )


@pytest.fixture
def open_runtime(live, checkpoints, tmp_path: Path) -> Iterator[Callable[[Readout], Runtime]]:
    """What a command opens over the same storage, with a checkpoint of its own."""
    with ExitStack() as opened:

        def open_runtime(readout: Readout) -> Runtime:
            settings = Settings(
                database_url=url_of(live),
                blob_url=f"file://{tmp_path}/blobs",
                checkpoint=str(checkpoints[readout]),
                index_folder=str(tmp_path / "index"),
            )
            return opened.enter_context(Runtime(settings))

        yield open_runtime


def url_of(live) -> str:
    return live.store.database.url.render_as_string(hide_password=False)


def vectors_of(live, version: str) -> dict[str, np.ndarray]:
    batch = SignatureStore(live.store.database).changes(version, after=0, limit=1000)
    return dict(zip(batch.user_ids, batch.vectors, strict=True))


def nearest(vectors: dict[str, np.ndarray], user: str) -> list[tuple[str, float]]:
    """Everybody else by the product of vectors, with it."""
    products = {other: float(vectors[user] @ each) for other, each in vectors.items()}
    others = [(other, near) for other, near in products.items() if other != user]
    return sorted(others, key=lambda each: (-each[1], each[0]))


def answered(client: RecsysClient, user: str, version: str) -> list[tuple[str, float]]:
    """A user's neighbours by RPC, which must be of this version."""
    similar = client.similarity.find_similar_users(user, k=len(USERS))
    assert similar.model_version == version
    return [(each.user_id, each.similarity) for each in similar.users]


def alike(found: list[tuple[str, float]], expected: list[tuple[str, float]]) -> bool:
    """Whether these are the same users, as near, nearest first; ties may stand either way."""
    assert dict(found) == pytest.approx(dict(expected), abs=1e-5)
    return all(one >= other - 1e-5 for (_, one), (_, other) in pairwise(found))


@pytest.mark.usefixtures("people")
def test_a_new_definition_is_built_beside_the_old_one_while_that_one_serves(
    live, client, serve, open_runtime, monkeypatch
) -> None:
    old = open_runtime(OLD).backfill().run().model_version
    vectors = vectors_of(live, old)
    assert set(vectors) == set(USERS)
    building = open_runtime(NEW)
    new, read_many = building.signature_reader.model_version, building.signature_reader.read_many
    seen: list[int] = []

    def meanwhile(users):
        """The old one serves on, and its index holds nothing of the new one."""
        seen.append(len(vectors_of(live, new)))
        assert alike(answered(client, "u03", old), nearest(vectors, "u03"))
        return read_many(users)

    monkeypatch.setattr(building.signature_reader, "read_many", meanwhile)
    assert building.backfill(chunk_size=6, batch_size=6).run().num_done == len(USERS)
    assert seen == [0, 6, 12]
    theirs = vectors_of(live, new)
    assert {each.shape for each in (*vectors.values(), *theirs.values())} == {(DIMENSION,)}

    with RecsysClient(serve(NEW, database_url=url_of(live)).address, timeout_s=GIVE_UP_S) as other:
        for user in USERS:
            assert alike(answered(client, user, old), nearest(vectors, user))
            assert alike(answered(other, user, new), nearest(theirs, user))
    assert vectors_of(live, old).keys() == vectors.keys()
    mixed = nearest({**theirs, "u03": vectors["u03"]}, "u03")
    assert mixed[0][1] != pytest.approx(nearest(vectors, "u03")[0][1], abs=1e-3), "it would show"


@pytest.mark.usefixtures("people")
def test_each_definition_has_an_index_of_its_own_also_from_snapshots(
    live, open_runtime, tmp_path: Path
) -> None:
    for readout in (OLD, NEW, OLD, NEW):  # the second of each is opened from its snapshot
        runtime = open_runtime(readout)
        version = runtime.backfill().run().model_version
        index = runtime.index(version)
        vectors = vectors_of(live, version)
        assert index.size == len(USERS)
        for user, vector in vectors.items():
            found = index.search(vector, len(USERS), exclude=[user])
            assert alike([(n.user_id, n.similarity) for n in found], nearest(vectors, user))
    kept = {path.name.lstrip(".").split("-")[0] for path in (tmp_path / "index").iterdir()}
    assert len(kept - {"CURRENT", "lock"}) == 2, "snapshots are named by their version"


@pytest.mark.usefixtures("people")
def test_a_choice_brings_each_definition_up_to_date_when_it_is_asked_for(
    live, client, serve, open_runtime, png
) -> None:
    old, new = (open_runtime(each).backfill().run().model_version for each in (OLD, NEW))
    client.record_choice("u03", liked=png(2), passed_over=[png(250)], prompt="a fish")
    stored = SignatureStore(live.store.database)
    assert client.similarity.get_user_signature("u03").signature.model_version == old
    assert [stored.get("u03", each).revision for each in (old, new)] == [3, 2]
    with RecsysClient(serve(NEW, database_url=url_of(live)).address, timeout_s=GIVE_UP_S) as other:
        theirs = other.similarity.get_user_signature("u03").signature
        assert (theirs.model_version, theirs.revision) == (new, 3)
        assert alike(answered(other, "u07", new), nearest(vectors_of(live, new), "u07"))
    assert alike(answered(client, "u07", old), nearest(vectors_of(live, old), "u07"))


@pytest.mark.usefixtures("people")
def test_a_list_that_began_with_one_definition_does_not_go_on_with_the_other(
    live, serve, open_runtime, connect, channel
) -> None:
    for readout in (OLD, NEW):
        open_runtime(readout).backfill().run()
    first = SimilarityServiceStub(channel).FindSimilarUsers(
        FindSimilarUsersRequest(user_id="u03", page_size=2)
    )
    other = SimilarityServiceStub(connect(serve(NEW, database_url=url_of(live)).address))
    more = FindSimilarUsersRequest(user_id="u03", page_size=2, page_token=first.next_page_token)
    with pytest.raises(grpc.RpcError) as refused:
        other.FindSimilarUsers(more)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.usefixtures("people")
def test_clusters_are_of_one_definition_and_each_server_lists_its_own(
    live, client, serve, open_runtime
) -> None:
    runs = {}
    for readout in (OLD, NEW):
        version = open_runtime(readout).backfill().run().model_version
        runs[readout] = build_clusters(
            live.store.database, version, method="kmeans", num_clusters=3
        )
    with RecsysClient(serve(NEW, database_url=url_of(live)).address, timeout_s=GIVE_UP_S) as other:
        for readout, caller in ((OLD, client), (NEW, other)):
            own = runs[readout]
            listed, clusters = caller.similarity.list_clusters()
            assert (listed.name, listed.model_version) == (own.name, own.model_version)
            vectors, placed = vectors_of(live, own.model_version), set[str]()
            for each in clusters:
                _, _, members = caller.similarity.get_cluster(each.cluster_id)
                near = {member.user_id: member.similarity for member in members}
                mean = np.mean([vectors[user] for user in near], axis=0)
                centroid = mean / np.linalg.norm(mean)
                assert near == pytest.approx(
                    {user: float(vectors[user] @ centroid) for user in near}, abs=1e-5
                )
                placed |= near.keys()
            assert placed == set(USERS)
