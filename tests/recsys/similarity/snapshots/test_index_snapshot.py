"""Snapshots: what is damaged, foreign or half written is never served, whoever is killed when."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import delete

from recsys.similarity.index import SignatureIndex
from recsys.similarity.kinds import build_vector_index
from recsys.similarity.rows import MainPart, Rows
from recsys.similarity.snapshot import (
    MAX_AGE_S,
    SnapshotRefused,
    load_snapshot,
    remove_snapshots,
    save_snapshot,
)
from storage.records import Signature
from storage.tables import SignatureCounterRow, SignatureRow
from storage.tombstones import erasure_mark

E = 8


def unit(seed: int, number: int) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((number, E))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def main_of(number: int, sequence: int, *, exact_max: int = 100_000) -> MainPart:
    names = [f"user {place:05d}" for place in range(number)]
    rows = Rows.of(names, np.arange(1, number + 1), unit(1, number))
    return MainPart(rows, sequence, build_vector_index(rows.vectors, exact_max=exact_max))


@pytest.mark.parametrize("exact_max", [100, 100_000])
def test_a_snapshot_comes_back_as_it_was(folder, exact_max: int) -> None:
    main = main_of(1500, 1700, exact_max=exact_max)
    save_snapshot(main, "v1", folder)
    loaded = load_snapshot("v1", folder)
    assert loaded.sequence == 1700
    assert loaded.rows.names() == main.rows.names()
    assert np.array_equal(loaded.rows.vectors, main.rows.vectors)
    assert np.array_equal(loaded.rows.sequences, main.rows.sequences)
    assert isinstance(loaded.rows.vectors.base, np.memmap)
    if main.vector_index is not None:
        assert loaded.vector_index.settings == main.vector_index.settings
        queries = unit(2, 20)
        assert np.array_equal(
            loaded.vector_index.nearest(queries, 10), main.vector_index.nearest(queries, 10)
        )


def test_there_is_none_until_one_is_saved(folder) -> None:
    assert load_snapshot("v1", folder) is None


def test_old_ones_and_remains_are_removed(folder) -> None:
    save_snapshot(main_of(10, 10), "v1", folder)
    save_snapshot(main_of(10, 30), "v2", folder)
    (folder / ".new-v1-11-dead").mkdir()
    save_snapshot(main_of(20, 20), "v1", folder)
    names = sorted(path.name.rsplit("-", 1)[0] for path in folder.iterdir() if path.is_dir())
    assert names == ["v1-20", "v2-30"]
    assert load_snapshot("v1", folder).sequence == 20
    assert load_snapshot("v2", folder).sequence == 30


def test_those_of_other_versions_go_when_they_are_old(folder) -> None:
    old = save_snapshot(main_of(10, 10), "v1", folder)
    save_snapshot(main_of(10, 20), "v2", folder)
    os.utime(old, (time.time() - MAX_AGE_S - 1,) * 2)
    save_snapshot(main_of(10, 30), "v3", folder)
    names = sorted(path.name.rsplit("-", 1)[0] for path in folder.iterdir() if path.is_dir())
    assert names == ["v2-20", "v3-30"]
    assert load_snapshot("v1", folder) is None  # and no word of one that is missing


@pytest.mark.parametrize("rebuilds", [True, False])
def test_who_was_erased_leaves_the_disk_within_a_day(
    signatures, folder, monkeypatch, rebuilds: bool
) -> None:
    index = SignatureIndex(signatures, "v1", folder=folder, rebuilds=rebuilds)
    later = time.time() + MAX_AGE_S + 1
    gone = unit(1, 300)[7]
    with signatures.database.writing() as session:
        session.execute(delete(SignatureRow).where(SignatureRow.user_id == "user 00007"))
    index.sync()
    index.close()
    assert gone.tobytes() in all_bytes(folder)
    monkeypatch.setattr(time, "time", lambda: later)
    index.sync()
    index.close()
    assert gone.tobytes() not in all_bytes(folder)
    assert (load_snapshot("v1", folder) is not None) == rebuilds
    assert len(index.search(gone, 300)) == 299


def test_a_snapshot_from_before_an_erasure_is_removed_when_an_index_is_opened(
    signatures, folder, erase, caplog
) -> None:
    gone = unit(1, 300)[7].tobytes()
    SignatureIndex(signatures, "v1", folder=folder)
    assert gone in all_bytes(folder)
    erase("user 00007")
    assert SignatureIndex(signatures, "v1", folder=folder).size == 299
    assert gone not in all_bytes(folder)
    assert load_snapshot("v1", folder).mark == erasure_mark(signatures.database)
    assert caplog.text == ""  # nothing that somebody must look after


@pytest.mark.parametrize("rebuilds", [True, False])
def test_an_index_in_use_drops_who_was_erased(
    signatures, folder, erase, monkeypatch, rebuilds: bool
) -> None:
    monkeypatch.setattr("recsys.similarity.index.ERASURES_S", 0.0)
    gone = unit(1, 300)[7].tobytes()
    index = SignatureIndex(signatures, "v1", folder=folder, rebuilds=rebuilds)
    kept = load_snapshot("v1", folder)
    index.sync()
    assert load_snapshot("v1", folder).read_at == kept.read_at  # nobody was erased
    erase("user 00007")
    index.sync()
    index.close()
    assert gone not in all_bytes(folder)
    assert (load_snapshot("v1", folder) is not None) == rebuilds
    assert (gone in index._view.main.rows.vectors.tobytes()) != rebuilds


def test_who_is_erased_while_the_index_is_built_is_seen_afterwards(
    signatures, folder, erase, monkeypatch
) -> None:
    from recsys.similarity import _source

    read_rows = _source.read_rows
    had = []

    def and_erased(*args, **options):
        rows = read_rows(*args, **options)
        monkeypatch.setattr(_source, "read_rows", read_rows)
        had.append(rows.positions(["user 00007"]).size)
        erase("user 00007")
        return rows

    monkeypatch.setattr(_source, "read_rows", and_erased)
    index = SignatureIndex(signatures, "v1", folder=folder)
    index.drop_erased()
    index.close()
    assert had == [1]
    assert index._view.main.rows.positions(["user 00007"]).size == 0
    assert unit(1, 300)[7].tobytes() not in all_bytes(folder)


def test_only_snapshots_are_removed(signatures, folder) -> None:
    for version in ("v1", "v2"):
        save_snapshot(main_of(10, 10), version, folder)
    (folder / ".new-v3-11-dead").mkdir()
    (folder / "pictures").mkdir()
    remove_snapshots(folder)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "pictures"]
    remove_snapshots(folder / "nowhere")
    assert not (folder / "nowhere").exists()


def all_bytes(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_an_old_snapshot_that_nobody_has_left_is_kept(signatures, folder, monkeypatch) -> None:
    index = SignatureIndex(signatures, "v1", folder=folder)
    before = sorted(path.name for path in folder.iterdir())
    later = time.time() + MAX_AGE_S + 1
    monkeypatch.setattr(time, "time", lambda: later)
    index.sync()
    index.close()
    assert sorted(path.name for path in folder.iterdir()) == before


def test_the_last_writer_wins(folder) -> None:
    save_snapshot(main_of(20, 20), "v1", folder)
    save_snapshot(main_of(10, 10), "v1", folder)
    assert load_snapshot("v1", folder).sequence == 10


@pytest.mark.parametrize("text", [b"", b"..", b"a/../../b", b"\xff\xfe"])
def test_a_pointer_to_nowhere_is_refused_and_mended(
    signatures, folder, caplog, text: bytes, serves_what_sql_says
) -> None:
    SignatureIndex(signatures, "v1", folder=folder)
    (folder / "CURRENT-v1").write_bytes(text)
    serves_what_sql_says(signatures, folder)
    assert "building the index from SQL" in caplog.text
    caplog.clear()
    serves_what_sql_says(signatures, folder)
    assert caplog.text == ""


def test_a_version_cannot_leave_the_folder(folder) -> None:
    save_snapshot(main_of(10, 10), "../../x", folder)
    assert load_snapshot("../../x", folder).sequence == 10
    assert [path.name for path in folder.parent.iterdir()] == ["index"]


def damage(name: str, change) -> None:
    def damaged(snapshot: Path) -> None:
        path = snapshot / name
        change(path)

    return damaged


def cut(path: Path) -> None:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))


def meta(**changed):
    def change(path: Path) -> None:
        path.write_text(json.dumps(json.loads(path.read_text()) | changed))

    return change


DAMAGES = {
    **{f"cut {name}": damage(name, cut) for name in ("meta.json", "vectors.npy", "index.faiss")},
    **{f"flip {name}": damage(name, flip) for name in ("ids.npy", "index.faiss")},
    **{f"no {name}": damage(name, Path.unlink) for name in ("meta.json", "ends.npy")},
    "format": damage("meta.json", meta(format=1)),
    "version": damage("meta.json", meta(model_version="v2")),
    "kind": damage("meta.json", meta(kind="pickle")),
    "users": damage("meta.json", meta(num_users=7)),
    "gone": shutil.rmtree,
}


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_one_is_refused_and_built_anew(
    signatures, folder, caplog, name: str, serves_what_sql_says
) -> None:
    SignatureIndex(signatures, "v1", folder=folder, exact_max=100)
    (snapshot,) = [path for path in folder.iterdir() if path.is_dir()]
    DAMAGES[name](snapshot)
    with pytest.raises(SnapshotRefused):
        load_snapshot("v1", folder)
    serves_what_sql_says(signatures, folder)
    assert "building the index from SQL" in caplog.text
    caplog.clear()
    serves_what_sql_says(signatures, folder)
    assert caplog.text == ""  # mended


def test_a_restart_reads_only_what_came_since(
    signatures, folder, caplog, monkeypatch, serves_what_sql_says
) -> None:
    SignatureIndex(signatures, "v1", folder=folder, exact_max=100)
    signatures.put_many([Signature("user 00003", "v1", 2, unit(9, 1)[0])])
    read: list[int] = []
    changes = signatures.changes

    def counted(version, *, after, limit):
        read.append(after)
        return changes(version, after=after, limit=limit)

    monkeypatch.setattr(signatures, "changes", counted)
    index = SignatureIndex(signatures, "v1", folder=folder, exact_max=100)
    assert min(read) > 200
    assert index.search(unit(9, 1)[0], 1)[0].user_id == "user 00003"
    assert caplog.text == ""
    serves_what_sql_says(signatures, folder)


@pytest.mark.parametrize("put_again", [0, 150])
def test_a_snapshot_of_a_database_that_was_restored(
    signatures, folder, caplog, put_again: int, serves_what_sql_says
) -> None:
    """Restored to when it was half as long, and perhaps grown again past the snapshot since."""
    from sqlalchemy import delete

    from storage.tables import SignatureRow

    SignatureIndex(signatures, "v1", folder=folder)
    with signatures.database.writing() as session:
        session.execute(delete(SignatureRow).where(SignatureRow.sequence > 150))
        session.get(SignatureCounterRow, "v1").last_sequence = 150
    again = [
        Signature(f"user {place:05d}", "v1", 2, vector)
        for place, vector in enumerate(unit(5, put_again))
    ]
    signatures.put_many(again)
    serves_what_sql_says(signatures, folder)
    assert "building the index from SQL" in caplog.text
    caplog.clear()
    serves_what_sql_says(signatures, folder)
    assert caplog.text == ""  # mended


def test_a_folder_that_cannot_be_written_does_not_stop_the_search(
    signatures, tmp_path, caplog
) -> None:
    (tmp_path / "file").write_text("not a folder")
    index = SignatureIndex(signatures, "v1", folder=tmp_path / "file")
    assert index.size == 300
    assert "could not be written" in caplog.text
