"""Two users with choices and signatures."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from recsys.erasure.eraser import Eraser
from storage.blobs import BlobStore
from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys
from storage.records import Choice, ImageFacts, Signature
from storage.signatures import SignatureStore


@pytest.fixture
def keys() -> IdentityKeys:
    return IdentityKeys.of(["a key for the tests"])


@pytest.fixture
def store(tmp_path: Path, keys: IdentityKeys) -> Iterator[HistoryStore]:
    database = Database(f"sqlite:///{tmp_path}/recsys.db")
    upgrade(database)
    yield HistoryStore(database, BlobStore(f"file://{tmp_path}/blobs"), keys)
    database.dispose()


@pytest.fixture
def choose(store: HistoryStore) -> Callable[[str, bytes], str]:
    """Store that a user liked an image; returns its SHA-256."""

    def choose(user_id: str, data: bytes) -> str:
        facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 1, 1, len(data))
        at = datetime.now(UTC)
        choice = Choice(user_id, facts.sha256, (), "a fox", at, "test")
        store.append(choice, {facts.sha256: (facts, data)})
        return facts.sha256

    return choose


@pytest.fixture
def signed(store: HistoryStore, choose: Callable[[str, bytes], str]) -> HistoryStore:
    """Ann and bob, with a choice and a signature each."""
    for user_id in ("ann", "bob"):
        choose(user_id, user_id.encode())
    vectors = np.eye(2, dtype=np.float32)
    given = [Signature(u, "v1", 1, v) for u, v in zip(("ann", "bob"), vectors, strict=True)]
    assert SignatureStore(store.database).put_many(given) == []
    return store


@pytest.fixture
def build(signed: HistoryStore) -> Callable[..., int]:
    """Store a run with one cluster of some users; returns its id."""

    def build(*users: str) -> int:
        builder = ClusterBuilder(signed.database)
        run_id = builder.begin("v1", "kmeans", {"num": 1}, num_users=len(users))
        builder.add_members(run_id, list(users), [0] * len(users), [1.0] * len(users))
        builder.finish(run_id, [ClusterDraft(0, 1.0, np.eye(2, dtype=np.float32)[0])])
        return run_id

    return build


@pytest.fixture
def eraser(signed: HistoryStore, tmp_path: Path) -> Eraser:
    """Of an installation whose folders are not there yet."""
    return Eraser(signed, index_folder=tmp_path / "index", checkpoints=[tmp_path / "served"])
