"""Ctrl-C, a full disk, damage: what is committed stands whole, and running again completes it."""

import csv
from functools import partial

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InvalidSource, StorageFull
from storage.histories import HistoryStore
from storage.importers import _writer as writer
from storage.importers.pairs import import_pairs
from storage.importers.pickapic import import_pickapic
from storage.importers.ratings import import_ratings

NUM_ROWS = 25
ROWS_AT_ONCE = 10


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch):
    """Several transactions without hundreds of rows."""
    monkeypatch.setattr(writer, "MAX_ROWS", ROWS_AT_ONCE)


@pytest.fixture
def store(database, blobs):
    """An empty storage on either database: what a broken transaction leaves is theirs to say."""
    return HistoryStore(database, blobs)


def pairs(folder, picture):
    for name in range(NUM_ROWS + 1):
        (folder / f"{name}.png").write_bytes(picture(str(name)))
    (folder / "12.png").write_bytes(b"no picture")
    rows = [[f"u{i % 3}", f"{i}.png", f"{i + 1}.png", ""] for i in range(NUM_ROWS)]
    write_csv(folder / "pairs.csv", [["user_id", "liked_image", "disliked_image", "prompt"], *rows])
    return partial(import_pairs, folder)


def pickapic(folder, picture):
    table = pickapic_table(picture)
    pq.write_table(table.slice(0, 11), folder / "0.parquet")
    pq.write_table(table.slice(11), folder / "1.parquet")
    return partial(import_pickapic, [folder / "0.parquet", folder / "1.parquet"])


def pickapic_table(picture):
    ids = list(range(NUM_ROWS))
    return pa.table(
        {
            "ranking_id": ids,
            "user_id": [i % 3 for i in ids],
            "caption": ["" for _ in ids],
            "created_at": pa.array([None for _ in ids], pa.timestamp("ns")),
            "has_label": [True for _ in ids],
            "label_0": [0.5 if i == 12 else 1.0 for i in ids],
            "label_1": [0.5 if i == 12 else 0.0 for i in ids],
            "jpg_0": [picture(f"{i} a") for i in ids],
            "jpg_1": [picture(f"{i} b") for i in ids],
        }
    )


def ratings(folder, picture):
    (folder / "images").mkdir()
    names = [f"i{i:02}" for i in range(16)]
    for name in names:
        (folder / "images" / f"{name}.png").write_bytes(picture(name))
    items = [["image_id", "prompt"], *([name, f"p{i % 2}"] for i, name in enumerate(names))]
    rows = [[f"u{user}", name, 1 + i % 5] for user in range(3) for i, name in enumerate(names)]
    write_csv(folder / "items.csv", items)
    write_csv(folder / "ratings.csv", [["user_id", "image_id", "rating_1to5"], *rows])
    return partial(import_ratings, folder)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture(params=[pairs, pickapic, ratings], ids=lambda make: make.__name__)
def importer(request, tmp_path, picture):
    """An import of several transactions."""
    folder = tmp_path / "input"
    folder.mkdir()
    return request.param(folder, picture)


@pytest.mark.parametrize("num_reports", [1, 2])
def test_after_ctrl_c_running_again_completes(
    importer, num_reports, store, other_store, inspect, stopping, snapshot
):
    importer(other_store, inspect=inspect)
    whole = snapshot(other_store)
    stop = stopping(num_reports)
    with pytest.raises(KeyboardInterrupt):
        importer(store, inspect=inspect, progress=stop)
    part = snapshot(store)

    report = importer(store, inspect=inspect)

    num_before = sum(map(len, part.values()))
    assert all(choices == whole[user][: len(choices)] for user, choices in part.items())
    assert 0 < num_before < sum(map(len, whole.values()))
    assert snapshot(store) == whole
    assert report.num_repeated == num_before


def test_after_a_full_disk_running_again_completes(
    importer, store, other_store, full_after, inspect, snapshot
):
    importer(other_store, inspect=inspect)
    whole = snapshot(other_store)
    with pytest.raises(StorageFull):
        importer(full_after(1), inspect=inspect)
    part = snapshot(store)

    report = importer(store, inspect=inspect)

    num_before = sum(map(len, part.values()))
    assert 0 < num_before <= ROWS_AT_ONCE
    assert report.num_repeated == num_before
    assert snapshot(store) == whole


def test_again_stores_nothing_twice(importer, store, inspect, snapshot):
    first = importer(store, inspect=inspect)
    before = snapshot(store)

    second = importer(store, inspect=inspect)

    assert second.num_stored == second.num_unpaired == 0
    assert second.num_repeated == first.num_stored
    assert (second.num_read, second.skipped) == (first.num_read, first.skipped)
    assert snapshot(store) == before


def test_progress_grows_to_the_rows_read(importer, store, inspect, stopping):
    progress = stopping(-1)

    report = importer(store, inspect=inspect, progress=progress)

    assert progress.seen == sorted(progress.seen)
    assert len(progress.seen) >= 3
    assert progress.seen[-1] == report.num_read


def test_rows_before_damage_are_stored(tmp_path, picture, store, inspect):
    path = tmp_path / "0.parquet"
    pq.write_table(
        pickapic_table(picture), path, row_group_size=5, compression="zstd", use_dictionary=False
    )
    chunk = pq.read_metadata(path).row_group(4).column(7)
    data = bytearray(path.read_bytes())
    start = chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    path.write_bytes(data)

    with pytest.raises(InvalidSource, match="must be a whole Parquet file"):
        import_pickapic([path], store, inspect=inspect)

    num_stored = sum(store.revision(user_id) for user_id in store.user_ids())
    assert num_stored >= ROWS_AT_ONCE


def test_a_transaction_is_bounded_by_bytes_too(tmp_path, picture, store, inspect, monkeypatch):
    monkeypatch.setattr(writer, "MAX_BYTES", 30)
    held = []
    append_many = store.append_many

    def watched(items, **how):
        images = {sha256: data for _, new in items for sha256, (_, data) in new.items()}
        held.append(sum(map(len, images.values())))
        return append_many(items, **how)

    monkeypatch.setattr(store, "append_many", watched)
    pq.write_table(pickapic_table(picture), tmp_path / "0.parquet")

    import_pickapic([tmp_path / "0.parquet"], store, inspect=inspect)

    assert len(held) > NUM_ROWS / 2 - 1
    assert max(held) < 30 + 2 * len(picture("00 a"))
