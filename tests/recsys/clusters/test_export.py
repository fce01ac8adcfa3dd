"""A run as files: what notebooks read is what is stored, and a file is whole or not there."""

import csv
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pyarrow import parquet

from recsys.clusters import export as cluster_export
from recsys.clusters.export import export_run
from storage.blobs import BlobStore
from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft, ClusterWord
from storage.clusters.runs import ClusterStore
from storage.database import Database, upgrade
from storage.errors import UnknownCluster
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts

NAMES = ["ann", "bob, the second", 'c"d', "день", "=1+1"]


@pytest.fixture
def clusters(tmp_path: Path) -> Iterator[ClusterStore]:
    """A run of five users in two clusters."""
    database = Database(f"sqlite:///{tmp_path}/recsys.db")
    upgrade(database)
    store = HistoryStore(database, BlobStore(f"file://{tmp_path}/blobs"))
    data = b"an image"
    facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 1, 1, len(data))
    at = datetime(2026, 1, 1, tzinfo=UTC)
    for name in NAMES:
        store.append(Choice(name, facts.sha256, (), "", at, "test"), {facts.sha256: (facts, data)})
    builder = ClusterBuilder(database)
    run_id = builder.begin("v1", "kmeans", {"num": 2}, num_users=5)
    builder.add_members(run_id, NAMES, [0, 0, 0, 1, 1], [0.5, 0.75, 1.0, 1.0, 0.25])
    words = [ClusterWord("fox", 0.5, 0.1, 3.0)]
    vector = np.array([1, 0], dtype=np.float32)
    drafts = [ClusterDraft(0, 0.75, vector, words=words), ClusterDraft(1, 0.625, vector)]
    builder.finish(run_id, drafts)
    yield ClusterStore(database)
    database.dispose()


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_export, "_ROWS_AT_ONCE", 2)


def test_parquet_holds_what_is_stored(clusters: ClusterStore, tmp_path: Path) -> None:
    run_id = clusters.run().run_id
    paths = export_run(clusters, run_id, tmp_path / "new" / "out")
    assert [path.name for path in paths] == ["members.parquet", "clusters.parquet"]
    members = parquet.read_table(paths[0]).to_pylist()
    stored = clusters.members(run_id)
    assert members == [
        {"user_id": m.user_id, "cluster_id": m.cluster_id, "similarity": m.similarity}
        for m in stored
    ]
    first, second = parquet.read_table(paths[1]).to_pylist()
    assert (first["size"], first["medoid"], first["words"]) == (3, 'c"d', ["fox"])
    assert first["typical_members"] == ['c"d', "bob, the second", "ann"]
    assert (first["distance"], first["num_joined"], first["liked_images"]) == (None, None, [])
    assert second["cohesion"] == 0.625


def test_csv_holds_the_same(clusters: ClusterStore, tmp_path: Path) -> None:
    members, facts = export_run(clusters, clusters.run().run_id, tmp_path / "out", format="csv")
    with members.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["user_id"] for row in rows) == sorted([*NAMES[:-1], "'=1+1"])
    assert {row["user_id"]: float(row["similarity"]) for row in rows}["ann"] == 0.5
    with facts.open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert json.loads(first["typical_members"]) == ['c"d', "bob, the second", "ann"]
    assert first["distance"] == ""


def test_parquet_keeps_what_only_a_spreadsheet_would_run(
    clusters: ClusterStore, tmp_path: Path
) -> None:
    path, _ = export_run(clusters, clusters.run().run_id, tmp_path / "out")
    assert "=1+1" in parquet.read_table(path).column("user_id").to_pylist()


def test_an_old_export_is_replaced_whole_or_not_at_all(
    clusters: ClusterStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id, folder = clusters.run().run_id, tmp_path / "out"
    (path, _) = export_run(clusters, run_id, folder)
    before = path.read_bytes()

    def broken(*_: object) -> object:
        yield [("ann", 1, 0.5)]
        raise RuntimeError("the disk is full")

    monkeypatch.setattr(cluster_export, "_member_pages", broken)
    with pytest.raises(RuntimeError):
        export_run(clusters, run_id, folder)
    assert path.read_bytes() == before
    assert sorted(each.name for each in folder.iterdir()) == ["clusters.parquet", "members.parquet"]


def test_an_unknown_run_makes_no_folder(clusters: ClusterStore, tmp_path: Path) -> None:
    with pytest.raises(UnknownCluster):
        export_run(clusters, 99, tmp_path / "out")
    with pytest.raises(ValueError, match="parquet, csv, got xls"):
        export_run(clusters, clusters.run().run_id, tmp_path / "out", format="xls")
    assert not (tmp_path / "out").exists()
