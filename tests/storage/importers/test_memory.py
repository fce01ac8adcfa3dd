"""Memory does not grow with the input: ten times the rows, the same peak."""

import csv
import gc
import tracemalloc
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.importers import _writer as writer
from storage.importers.pairs import import_pairs
from storage.importers.pickapic import import_pickapic
from storage.importers.ratings import import_ratings

IMAGE_BYTES = 4_000
FEW, MANY = 300, 1_200


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch):
    """Full chunks in both imports, so that only growth differs."""
    monkeypatch.setattr(writer, "MAX_ROWS", 100)


def image(name):
    """Bytes that do not compress."""
    seed = abs(hash(name)) % 2**32
    return f"image {name} ".encode() + np.random.default_rng(seed).bytes(IMAGE_BYTES)


def pickapic(folder, num_rows):
    ids = list(range(num_rows))
    table = pa.table(
        {
            "ranking_id": ids,
            "user_id": [i // 50 for i in ids],
            "caption": ["a caption"] * num_rows,
            "created_at": pa.array([None] * num_rows, pa.timestamp("ns")),
            "has_label": [True] * num_rows,
            "label_0": [1.0] * num_rows,
            "label_1": [0.0] * num_rows,
            "jpg_0": [image(f"{i} a") for i in ids],
            "jpg_1": [image(f"{i} b") for i in ids],
        }
    )
    # One row group, which must not be taken whole, of pages that any reader takes whole.
    pq.write_table(table, folder / "0.parquet", write_batch_size=16, use_dictionary=False)
    return partial(import_pickapic, [folder / "0.parquet"])


def pairs(folder, num_rows):
    for name in ("a", "b"):
        (folder / f"{name}.png").write_bytes(image(name))
    columns = [["user_id", "liked_image", "disliked_image", "prompt"]]
    rows = [[f"u{i // 50}", "a.png", "b.png", f"{i} " + "p" * 2000] for i in range(num_rows)]
    write_csv(folder / "pairs.csv", columns + rows)
    return partial(import_pairs, folder)


def ratings(folder, num_rows):
    (folder / "images").mkdir()
    for name in ("a", "b"):
        (folder / "images" / f"{name}.png").write_bytes(image(name))
    write_csv(folder / "items.csv", [["image_id", "prompt"], ["a", "p"], ["b", "p"]])
    columns = [["user_id", "image_id", "rating_1to5", "comment"]]
    rows = [
        [f"{user} {'u' * 200}", name, rating, "of a column that nobody reads" * 20]
        for user in range(num_rows)
        for name, rating in (("a", 5), ("b", 1))
    ]
    write_csv(folder / "ratings.csv", columns + rows)
    return partial(import_ratings, folder)


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


def peak_bytes(run, inspect):
    """What Python and Arrow held at most while importing, above what they held before."""
    arrow_before = pa.total_allocated_bytes()
    arrow_peak = 0

    def watched(data):
        nonlocal arrow_peak
        arrow_peak = max(arrow_peak, pa.total_allocated_bytes() - arrow_before)
        return inspect(data)

    gc.collect()
    gc.freeze()  # what is there already need not be looked through again and again
    tracemalloc.start()
    try:
        # What waits to be collected is noise here: collected at every transaction.
        report = run(inspect=watched, progress=lambda _: gc.collect())
        return report, tracemalloc.get_traced_memory()[1], arrow_peak
    finally:
        tracemalloc.stop()
        gc.unfreeze()


@pytest.mark.parametrize("make", [pickapic, pairs, ratings], ids=lambda make: make.__name__)
def test_memory_does_not_grow_with_the_rows(make, tmp_path, other_store, inspect):
    peaks, sizes = [], []
    for num_rows in (FEW, FEW, MANY):  # the first also pays for imports and caches
        folder = tmp_path / f"{len(peaks)}"
        folder.mkdir()
        run = make(folder, num_rows)
        report, *peak = peak_bytes(partial(run, store=other_store), inspect)
        assert report.num_skipped == 0
        assert report.num_stored + report.num_repeated == num_rows
        peaks.append(sum(peak))
        sizes.append(sum(path.stat().st_size for path in folder.iterdir() if path.is_file()))

    assert peaks[2] - peaks[1] < 0.1 * (sizes[2] - sizes[1]), f"{peaks} for {sizes} bytes"
