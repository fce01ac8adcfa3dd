"""A run of clusters to be exported."""

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from storage.blobs import BlobStore
from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft, ClusterImage, ClusterWord
from storage.clusters.runs import ClusterStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts


@pytest.fixture
def names() -> list[str]:
    return ["ann", "bob, the second", 'c"d', "день", "=1+1"]


@pytest.fixture
def clusters(tmp_path: Path, names: list[str]) -> Iterator[ClusterStore]:
    """A run of five users in two clusters."""
    database = Database(f"sqlite:///{tmp_path}/recsys.db")
    upgrade(database)
    store = HistoryStore(database, BlobStore(f"file://{tmp_path}/blobs"))
    data = b"an image"
    facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 1, 1, len(data))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for name in names:
        store.append(Choice(name, facts.sha256, (), "", at, "test"), {facts.sha256: (facts, data)})
    builder = ClusterBuilder(database)
    run_id = builder.begin("v1", "kmeans", {"num": 2}, num_users=5)
    builder.add_members(run_id, names, [0, 0, 0, 1, 1], [0.5, 0.75, 1.0, 1.0, 0.25])
    words = [ClusterWord("fox", 0.5, 0.1, 3.0)]
    vector = np.array([1, 0], dtype=np.float32)
    liked = [ClusterImage(facts.sha256, 3, 0, 0.6, 2.0, 5, 0.01)]
    disliked = [ClusterImage(facts.sha256, 0, 2, 0.6, -2.0, 5, 0.01)]
    drafts = [
        ClusterDraft(0, 0.75, vector, liked_images=liked, words=words),
        ClusterDraft(1, 0.625, vector, disliked_images=disliked),
    ]
    builder.finish(run_id, drafts)
    yield ClusterStore(database)
    database.dispose()
