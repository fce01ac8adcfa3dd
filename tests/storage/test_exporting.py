"""An archive holds all that SQL and the blobs hold on a person, and nothing of others."""

import hashlib
import json
import stat
import tracemalloc
import zipfile
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import select

from storage import exporting
from storage.backfill_ledger import BackfillLedger, BackfillState, LedgerEntry
from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft
from storage.consents import ConsentStore
from storage.errors import InvalidRecord, UnknownUser
from storage.exporting import export_user
from storage.records import ImageFacts, Signature
from storage.signatures import SignatureStore
from storage.tables import BackfillRow, ChoiceRow, ImageRow, PassedOverRow, SignatureRow, UserRow

VECTOR = np.array([0.6, -0.8], dtype=np.float32)


@pytest.fixture
def filled(store, choose, monkeypatch):
    """Ann with all that can be held; bob with as much of his own."""
    monkeypatch.setattr(exporting, "_ROWS_AT_ONCE", 2)
    signatures, ledger = SignatureStore(store.database), BackfillLedger(store.database)
    builder = ClusterBuilder(store.database)
    for user_id in ("ann", "bob"):
        for nth in range(5):
            more = {"prompt": f"ein Fuchs 🦊 {nth}", "dataset": "d", "request_id": f"r{nth}"}
            passed = (f"{user_id}x", f"{user_id}{nth}y", "shared")
            store.append(
                *choose(user_id=user_id, liked=f"{user_id}{nth}", passed_over=passed, **more)
            )
        store.append(*choose(user_id=user_id, liked=None, passed_over=("shared",)))
        for version in ("v1", "v2"):
            signatures.put(Signature(user_id, version, 6, VECTOR))
        ledger.record([LedgerEntry(user_id, "v1", 6, "job", BackfillState.DONE)])
    run_id = builder.begin("v1", "kmeans", {}, num_users=2)
    builder.add_members(run_id, ["ann", "bob"], [0, 0], [0.5, 0.25])
    builder.finish(run_id, [ClusterDraft(0, 1.0, VECTOR, (), (), ())], name="monday")
    ConsentStore(store.database).update("ann", learn_from=False, personalize=None)
    builder.add_members(builder.begin("v1", "kmeans", {}, num_users=2), ["bob"], [0], [0.5])
    return store


def lines(archive: zipfile.ZipFile, name: str) -> list[dict]:
    return [json.loads(line) for line in archive.read(name).decode().splitlines()]


def rows(store, row, user_id: str = "ann") -> list[dict]:
    """A user's rows of a table as JSON would tell them."""
    with store.database.session() as session:
        found = session.scalars(select(row).where(row.user_id == user_id))
        return [
            {
                each.key: value.isoformat() if isinstance(value, datetime) else value
                for each in row.__mapper__.column_attrs
                for value in [getattr(one, each.key)]
            }
            for one in found
        ]


def test_all_that_sql_holds_of_the_person_is_there(filled, tmp_path, an_image) -> None:
    store, path = filled, tmp_path / "ann.zip"
    exported = export_user(store.database, store.blobs, "ann", path)
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
        assert [json.loads(archive.read("user.json"))] == rows(store, UserRow)
        choices = lines(archive, "choices.jsonl")
        with store.database.session() as session:
            query = select(PassedOverRow).order_by(PassedOverRow.choice_id, PassedOverRow.position)
            passed = list(session.scalars(query))
        expected = [
            row | {"passed_over": [p.sha256 for p in passed if p.choice_id == row["choice_id"]]}
            for row in rows(store, ChoiceRow)
        ]
        assert choices == expected
        assert len(choices) == 6
        named = {sha for row in choices for sha in (row["liked"], *row["passed_over"]) if sha}
        images = lines(archive, "images.jsonl")
        assert [image["sha256"] for image in images] == sorted(named)
        files = {name for name in archive.namelist() if name.startswith("images/")}
        assert files == {image["file"] for image in images}
        for image in images:
            data = archive.read(image["file"])
            assert hashlib.sha256(data).hexdigest() == image["sha256"]
            assert len(data) == image["num_bytes"]
        signatures = lines(archive, "signatures.jsonl")
        assert signatures == [
            row | {"vector": VECTOR.tolist()} for row in rows(store, SignatureRow)
        ]
        assert lines(archive, "backfill_ledger.jsonl") == rows(store, BackfillRow)
        whole = b"".join(archive.read(name) for name in archive.namelist())
        readme = archive.read("README.txt").decode()
        written = {name.partition("/")[0] for name in archive.namelist()} - {"README.txt"}
        assert all(name in readme for name in written)
    assert b"bob" not in whole
    assert an_image("bob0")[0].sha256.encode() not in whole
    assert (exported.num_choices, exported.num_signatures, exported.num_lost) == (6, 2, 0)
    assert exported.num_images == len(named)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_clusters_are_told_by_name_and_number(filled, tmp_path) -> None:
    path = tmp_path / "bob.zip"
    export_user(filled.database, filled.blobs, "bob", path)
    with zipfile.ZipFile(path) as archive:
        finished, begun = lines(archive, "clusters.jsonl")
    assert (finished["run"], finished["cluster_id"], finished["similarity"]) == ("monday", 1, 0.25)
    assert (begun["run"], begun["cluster_id"], begun["similarity"]) == (None, None, 0.5)


def test_lost_bytes_are_told(filled, tmp_path, digest) -> None:
    filled.blobs.delete(digest("ann0"))
    path = tmp_path / "ann.zip"
    exported = export_user(filled.database, filled.blobs, "ann", path)
    assert exported.num_lost == 1
    with zipfile.ZipFile(path) as archive:
        lost = [row["sha256"] for row in lines(archive, "images.jsonl") if row["file"] is None]
    assert lost == [digest("ann0")]


def test_nobody_leaves_no_file(filled, tmp_path) -> None:
    for user_id, kind in (("nobody", UnknownUser), ("", InvalidRecord)):
        with pytest.raises(kind):
            export_user(filled.database, filled.blobs, user_id, tmp_path / "x.zip")
    assert list(tmp_path.glob("*.zip*")) == []


def test_memory_holds_one_image_at_a_time(store, choose, tmp_path) -> None:
    megabyte = 2**20
    for nth in range(12):
        data = bytes([nth]) * megabyte
        facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 4, 3, len(data))
        choice, _ = choose()
        alone = replace(choice, liked=facts.sha256, passed_over=(), chosen_at=datetime.now(UTC))
        store.append(alone, {facts.sha256: (facts, data)})
    tracemalloc.start()
    try:
        exported = export_user(store.database, store.blobs, "ann", tmp_path / "ann.zip")
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert exported.num_images == 12
    with store.database.session() as session:
        assert len(session.scalars(select(ImageRow.sha256)).all()) == 12
    assert peak < 6 * megabyte
