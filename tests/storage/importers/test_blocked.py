"""Images that were taken down do not come back with the files that they once came in."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.importers.pairs import import_pairs
from storage.importers.pickapic import COLUMNS, import_pickapic
from storage.importers.ratings import import_ratings
from storage.takedowns import ImageTakedowns

REASON = "the image is blocked"


@pytest.fixture
def block(store, sha):
    """Block the image of a name."""
    takedowns = ImageTakedowns(store.database, store.blobs)
    return lambda name: takedowns.block(sha(name))


def test_pairs_that_show_a_blocked_image_are_left_out_and_counted(
    store, tmp_path, picture, inspect, block, sha
) -> None:
    names = ["a", "bad", "c", "d"]
    rows = []
    for number, name in enumerate(names):
        (tmp_path / f"{name}.png").write_bytes(picture(name))
        shown = {"liked_image": f"{name}.png", "disliked_image": f"{names[number - 1]}.png"}
        rows.append({"user_id": f"u{number}", "prompt": "p"} | shown)
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)), "utf-8")
    block("bad")
    for num_stored, num_repeated in ((2, 0), (0, 2)):
        report = import_pairs(tmp_path, store, inspect=inspect)
        assert (report.num_stored, report.num_repeated) == (num_stored, num_repeated)
        assert report.skipped == {REASON: 2}
        assert report.examples[REASON] == ["pairs.jsonl line 2", "pairs.jsonl line 3"]
    assert store.user_ids() == ["u0", "u3"]
    assert not store.blobs.exists(sha("bad"))


def test_what_was_shortened_counts_as_stored_before(
    store, tmp_path, picture, inspect, block, sha
) -> None:
    for name in ("a", "bad"):
        (tmp_path / f"{name}.png").write_bytes(picture(name))
    row = {"user_id": "ann", "liked_image": "a.png", "disliked_image": "bad.png"}
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row), "utf-8")
    import_pairs(tmp_path, store, inspect=inspect)
    block("bad")
    report = import_pairs(tmp_path, store, inspect=inspect)
    assert (report.num_repeated, report.num_skipped) == (1, 0)
    (stored,) = store.read("ann").choices
    assert (stored.choice.liked, stored.choice.passed_over) == (sha("a"), ())


def test_pick_a_pic_leaves_it_out(store, tmp_path, picture, inspect, block) -> None:
    rows = [
        (number, number, "p", None, True, 1.0, 0.0, picture(first), picture(second))
        for number, (first, second) in enumerate((("a", "b"), ("a", "bad"), ("bad", "b")))
    ]
    table = pa.table({name: [row[at] for row in rows] for at, name in enumerate(COLUMNS)})
    pq.write_table(table, tmp_path / "some.parquet")
    block("bad")
    report = import_pickapic([tmp_path / "some.parquet"], store, inspect=inspect)
    assert (report.num_stored, report.skipped) == (1, {REASON: 2})


def test_a_blocked_image_costs_no_rated_one_its_choice(
    store, tmp_path, picture, inspect, block
) -> None:
    (tmp_path / "images").mkdir()
    for name in ("a", "bad", "c"):
        (tmp_path / "images" / f"{name}.png").write_bytes(picture(name))
    (tmp_path / "items.csv").write_text("image_id,prompt\na,p\nbad,p\nc,p\n")
    rates = ["ann,a,5", "ann,bad,1", "ann,c,1", "bob,bad,5"]
    (tmp_path / "ratings.csv").write_text("\n".join(["user_id,image_id,rating_1to5", *rates]))
    block("bad")
    report = import_ratings(tmp_path, store, inspect=inspect)
    assert report.skipped == {REASON: 2}
    assert (report.num_stored, report.num_unpaired) == (1, 0)
