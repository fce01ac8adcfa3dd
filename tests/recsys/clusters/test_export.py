"""A run as files: what notebooks read is what is stored, and a file is whole or not there."""

import csv
import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pyarrow import parquet

from recsys.clusters import export as cluster_export
from recsys.clusters.export import export_run
from storage.blobs import BlobStore
from storage.clusters.exports import ClusterExportStore
from storage.clusters.names import ClusterNames
from storage.clusters.runs import ClusterStore
from storage.consents import ConsentStore
from storage.errors import UnknownCluster
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys


@pytest.fixture(autouse=True)
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_export, "_ROWS_AT_ONCE", 2)


def test_parquet_holds_what_is_stored(clusters: ClusterStore, tmp_path: Path) -> None:
    ClusterNames(clusters.database).give(1, "=foxes")
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
    assert (first["name"], second["name"]) == ("=foxes", None)
    assert (first["size"], first["medoid"], first["words"]) == (3, 'c"d', ["fox"])
    assert first["typical_members"] == ['c"d', "bob, the second", "ann"]
    assert (first["distance"], first["num_joined"], first["disliked_images"]) == (None, None, [])
    assert first["liked_images"] == second["disliked_images"] != []
    assert second["cohesion"] == 0.625


def test_csv_holds_the_same(clusters: ClusterStore, tmp_path: Path, names: list[str]) -> None:
    ClusterNames(clusters.database).give(1, "=foxes")
    members, facts = export_run(clusters, clusters.run().run_id, tmp_path / "out", format="csv")
    with members.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert sorted(row["user_id"] for row in rows) == sorted([*names[:-1], "'=1+1"])
    assert {row["user_id"]: float(row["similarity"]) for row in rows}["ann"] == 0.5
    with facts.open(encoding="utf-8", newline="") as file:
        first = next(csv.DictReader(file))
    assert json.loads(first["typical_members"]) == ['c"d', "bob, the second", "ann"]
    assert first["distance"] == ""
    assert first["name"] == "'=foxes"


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


def test_storage_keeps_where_exports_are(clusters: ClusterStore, tmp_path: Path) -> None:
    run_id = clusters.run().run_id
    before = datetime.now(UTC)
    for format in ("parquet", "csv", "csv"):
        export_run(clusters, run_id, tmp_path / "here" / ".." / "out", format=format)
    exports = ClusterExportStore(clusters.database).all()
    folder = str(tmp_path / "out")
    assert [(each.run_id, each.folder, each.format) for each in exports] == [
        (run_id, folder, "parquet"),
        (run_id, folder, "csv"),
    ]
    assert all(before <= each.exported_at <= datetime.now(UTC) for each in exports)


@pytest.mark.parametrize("is_erased", [True, False])
def test_who_leaves_while_it_is_written_is_not_in_it(
    clusters: ClusterStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_erased: bool
) -> None:
    keys = IdentityKeys.of(["a key for the tests"])
    pages = cluster_export._member_pages

    def and_gone(*args: object) -> object:
        yield from pages(*args)
        monkeypatch.setattr(cluster_export, "_member_pages", pages)
        if is_erased:
            blobs = BlobStore(f"file://{tmp_path}/blobs")
            HistoryStore(clusters.database, blobs, keys).erase("ann", by="a test")
        else:
            ConsentStore(clusters.database, keys).update("ann", learn_from=False)

    monkeypatch.setattr(cluster_export, "_member_pages", and_gone)
    members, _ = export_run(clusters, clusters.run().run_id, tmp_path / "out", format="csv")
    text = members.read_text("utf-8")
    assert "bob" in text
    assert "ann" not in text
