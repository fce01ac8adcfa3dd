"""A server whose model reads signatures by a shade; five users by name."""

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc
import numpy as np
import pytest

from recsys._loading import LoadedModel
from recsys.client import RecsysClient
from recsys.v1.similarity_service_pb2 import FindSimilarUsersRequest
from recsys.v1.similarity_service_pb2_grpc import SimilarityServiceStub
from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft, ClusterImage, ClusterWord
from storage.signatures import SignatureStore

GIVE_UP_S = 60.0
VERSION = "fake-version"
DIMENSION = 8
# By how far, in degrees, the shade that a user likes turns the signature.
SHADES = {"ann": 0, "bob": 10, "cid": 40, "dan": 20, "eve": 80}


@dataclass
class FakeSigning:
    """The newest liked image's shade, 0 to 255, turns the vector by as many degrees."""

    model_version: str = VERSION
    num_read: int = 0
    threads: set[str] = field(default_factory=set)
    before: list = field(default_factory=list)

    def read(self, references):
        self.num_read += 1
        self.threads.add(threading.current_thread().name)
        for act in self.before:
            act()
        vector = np.zeros(DIMENSION, dtype=np.float32)
        angle = np.deg2rad(float(references[-1].liked.float().mean()))
        vector[:2] = np.cos(angle), np.sin(angle)
        return vector

    def read_many(self, users):
        return [self.read(each) for each in users]


@pytest.fixture
def signing():
    return FakeSigning()


@pytest.fixture
def live(make_live, tmp_path, signing, monkeypatch):
    # What was put a moment ago is to be found now, not within a second.
    monkeypatch.setattr("recsys.similarity.index.FRESH_S", 0.0)
    sharing = {"share_min_users": 1, "share_prompts": True}
    made = make_live(index_folder=str(tmp_path / "index"), **sharing)
    made.loaded = LoadedModel(made.scorer, 2, signature_reader=signing)
    made.load()
    return made


@pytest.fixture
def client(live):
    with RecsysClient(live.address, timeout_s=GIVE_UP_S) as made:
        yield made


@pytest.fixture
def calls(client):
    return client.similarity


@pytest.fixture
def signatures(live):
    return SignatureStore(live.store.database)


@pytest.fixture
def choose(client, png):
    """Let a user like a shade."""
    return lambda user, shade: client.record_choice(
        user, liked=png(shade), passed_over=[png(255)], prompt=f"shade {shade}", shareable=True
    )


@pytest.fixture
def people(calls, choose):
    """Five users, all with a signature."""
    for user, shade in SHADES.items():
        choose(user, shade)
        calls.get_user_signature(user)
    return list(SHADES)


@pytest.fixture
def run(live, people):
    """A run of two clusters with all that one can have."""
    sha256 = live.store.read("ann").choices[0].choice.liked
    image = ClusterImage(sha256, 3, 1, 0.25, 2.5)
    word = ClusterWord("shade", 1.0, 0.5, 3.0)
    drafts = [
        ClusterDraft(0, 0.9, np.eye(DIMENSION, dtype=np.float32)[0], [image], [], [word]),
        ClusterDraft(1, 0.8, np.eye(DIMENSION, dtype=np.float32)[1]),
    ]
    builder = ClusterBuilder(live.store.database)

    def build(name):
        run_id = builder.begin(VERSION, "kmeans", {"num": 2}, num_users=5)
        builder.add_members(
            run_id, ["ann", "bob", "dan", "cid", "eve"], [0, 0, 0, 1, 1], [1, 0.9, 0.8, 0.7, 1]
        )
        return builder.finish(run_id, drafts, name=name)

    build("first")
    return build("second")


@pytest.fixture
def stub(channel):
    return SimilarityServiceStub(channel)


@pytest.fixture
def token(stub, people):
    """Of the second page of ann's neighbours."""
    request = FindSimilarUsersRequest(user_id="ann", page_size=1)
    return stub.FindSimilarUsers(request).next_page_token


@pytest.fixture
def refused_token() -> Callable[..., None]:
    """See that a method refuses a request for its page token."""

    def refused_token(method, request):
        with pytest.raises(grpc.RpcError) as refused:
            method(request)
        assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        assert "page_token" in refused.value.details()

    return refused_token
