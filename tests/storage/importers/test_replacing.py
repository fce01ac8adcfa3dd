"""--replace: all is stored first, and only then goes what the import has not met."""

from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import IdentityKeyMissing, InvalidSource, StorageFull
from storage.importers.origin import Origin
from storage.importers.pairs import import_pairs
from storage.importers.pickapic import import_pickapic
from storage.importers.ratings import import_ratings
from storage.records import Signature
from storage.signatures import SignatureStore

OLD = (("7", "a", "b"), ("7", "c", "d"), ("8", "e", "f"), ("8", "g", "h"))
NEW = (("7", "a", "b"), ("7", "c", "x"), ("8", "e", "y"), ("9", "g", "h"))
ORIGIN = Origin("one", replaces=True)


@pytest.fixture(autouse=True)
def small_transactions(monkeypatch):
    """Several transactions without hundreds of rows."""
    monkeypatch.setattr("storage.importers._writer.MAX_ROWS", 2)
    monkeypatch.setattr("storage.importers._earlier.REMOVED_AT_ONCE", 2)
    monkeypatch.setattr("storage.datasets._IDS_AT_ONCE", 2)


@pytest.fixture
def pairs_of(store, sha):
    """What is stored of a data set, as `make` takes it."""
    names = {sha(name): name for name in "abcdefghxyz"}

    def pairs_of(dataset):
        return sorted(
            (user_id, names[choice.liked], names[choice.passed_over[0]])
            for user_id in store.user_ids()
            for choice in (stored.choice for stored in store.read(user_id).choices)
            if choice.dataset == dataset
        )

    return pairs_of


def test_what_is_met_stays_and_the_rest_goes_with_its_images(
    make, store, inspect, files_of, pairs_of, sha
):
    import_pairs(make("other", ("7", "y", "z")), store, inspect=inspect)
    import_pairs(make("one", *OLD), store, inspect=inspect)
    first = store.read("7").choices[1]

    report = import_pairs(make("one", *NEW), store, origin=ORIGIN, inspect=inspect)

    assert (report.num_stored, report.num_repeated) == (3, 1)
    assert (report.num_removed, report.num_left) == (3, 0)
    assert pairs_of("one") == sorted(NEW)
    assert pairs_of("other") == [("7", "y", "z")]
    assert store.read("7").choices[1] == first
    assert files_of(store) == sorted(map(sha, "abcxeyghz"))
    again = import_pairs(make("one", *NEW), store, origin=ORIGIN, inspect=inspect)
    assert (again.num_stored, again.num_repeated, again.num_removed) == (0, 4, 0)


def test_other_thresholds_leave_what_a_first_import_would(
    rated, store, other_store, inspect, snapshot
):
    import_ratings(rated, store, inspect=inspect)
    old = len(store.read("7").choices)
    origin = Origin("rated", replaces=True)

    report = import_ratings(rated, store, liked_min=5, origin=origin, inspect=inspect)

    import_ratings(rated, other_store, liked_min=5, inspect=inspect)
    wanted = {stored.choice for stored in other_store.read("7").choices}
    assert {stored.choice for stored in store.read("7").choices} == wanted
    assert report.num_removed == old - report.num_repeated > 0
    assert report.num_stored + report.num_repeated == len(wanted)


def test_a_missing_column_removes_nothing(make, rated, store, inspect, snapshot):
    folder = make("one", *OLD)
    import_pairs(folder, store, inspect=inspect)
    import_ratings(rated, store, inspect=inspect)
    before = snapshot(store)
    (folder / "pairs.csv").write_text("user_id,liked_image\n7,a.png\n")
    with pytest.raises(InvalidSource):
        import_pairs(folder, store, origin=ORIGIN, inspect=inspect)
    (rated / "ratings.csv").write_text("user_id,image_id\n7,a\n")
    with pytest.raises(InvalidSource):
        import_ratings(rated, store, origin=Origin("rated", replaces=True), inspect=inspect)
    assert snapshot(store) == before


def test_interrupted_it_keeps_all_and_running_again_completes(
    make, store, inspect, stopping, pairs_of
):
    import_pairs(make("one", *OLD), store, inspect=inspect)
    folder = make("one", *NEW)
    with pytest.raises(KeyboardInterrupt):
        import_pairs(folder, store, origin=ORIGIN, inspect=inspect, progress=stopping(1))
    assert set(pairs_of("one")) == {*OLD, ("7", "c", "x")}

    report = import_pairs(folder, store, origin=ORIGIN, inspect=inspect)

    assert (report.num_stored, report.num_repeated, report.num_removed) == (2, 2, 3)
    assert pairs_of("one") == sorted(NEW)


@pytest.mark.parametrize("error", [StorageFull, IdentityKeyMissing])
def test_what_cannot_be_stored_removes_nothing(error, make, store, inspect, pairs_of, monkeypatch):
    import_pairs(make("one", *OLD), store, inspect=inspect)

    def fail(items, **how):
        raise error("no")

    monkeypatch.setattr(store, "append_many", fail)
    with pytest.raises(error):
        import_pairs(make("one", *NEW), store, origin=ORIGIN, inspect=inspect)
    assert pairs_of("one") == sorted(OLD)


def rankings(folder, picture, *rows):
    """Write Pick-a-Pic's file: ranking, the picked image, the other."""
    folder.mkdir(exist_ok=True)
    ids, picked, others = zip(*rows, strict=True)
    columns = {
        "ranking_id": ids,
        "user_id": [7] * len(rows),
        "caption": ["p"] * len(rows),
        "created_at": pa.array([datetime(2024, 1, 1, tzinfo=UTC)] * len(rows)),
        "has_label": [True] * len(rows),
        "label_0": [1.0] * len(rows),
        "label_1": [0.0] * len(rows),
        "jpg_0": list(map(picture, picked)),
        "jpg_1": list(map(picture, others)),
    }
    how = {"row_group_size": 2, "compression": "zstd", "use_dictionary": False}
    pq.write_table(pa.table(columns), folder / "0.parquet", **how)
    return [folder / "0.parquet"]


def test_damage_in_the_middle_removes_nothing(tmp_path, picture, store, inspect, pairs_of):
    old = [(1, "a", "b"), (2, "c", "d"), (3, "e", "f"), (4, "g", "h")]
    files = rankings(tmp_path / "one", picture, *old)
    import_pickapic(files, store, inspect=inspect)
    rankings(tmp_path / "one", picture, (1, "a", "b"), (2, "c", "x"), (5, "e", "y"), (6, "g", "z"))
    chunk = pq.read_metadata(files[0]).row_group(1).column(7)
    data = bytearray(files[0].read_bytes())
    start = chunk.data_page_offset
    data[start : start + chunk.total_compressed_size] = bytes(chunk.total_compressed_size)
    files[0].write_bytes(data)

    with pytest.raises(InvalidSource, match="must be a whole Parquet file"):
        import_pickapic(files, store, origin=ORIGIN, inspect=inspect)

    assert {("7", *images) for _, *images in old} <= set(pairs_of("one"))


def test_lines_that_cannot_be_read_are_as_good_as_not_there(make, store, inspect, pairs_of):
    folder = make("one", *OLD)
    import_pairs(folder, store, inspect=inspect)
    lines = (folder / "pairs.csv").read_bytes().splitlines(keepends=True)
    (folder / "pairs.csv").write_bytes(b"".join([*lines[:3], b"\xff" + lines[3], lines[4]]))
    report = import_pairs(folder, store, origin=ORIGIN, inspect=inspect)
    assert (report.num_skipped, report.num_removed, report.num_repeated) == (1, 1, 3)
    assert pairs_of("one") == sorted([*OLD[:2], OLD[3]])


def test_a_row_corrected_under_its_id_replaces_the_old_one(
    tmp_path, picture, store, inspect, stopping, pairs_of
):
    files = rankings(tmp_path / "one", picture, (1, "a", "b"), (2, "c", "d"), (3, "e", "f"))
    import_pickapic(files, store, inspect=inspect)
    corrected = [(1, "b", "a"), (1, "a", "b"), (2, "c", "d"), (3, "e", "x"), (1, "a", "b")]
    files = rankings(tmp_path / "one", picture, *corrected)
    with pytest.raises(KeyboardInterrupt):
        import_pickapic(files, store, origin=ORIGIN, inspect=inspect, progress=stopping(1))
    assert {("7", "a", "b"), ("7", "c", "d"), ("7", "e", "f")} < set(pairs_of("one"))

    report = import_pickapic(files, store, origin=ORIGIN, inspect=inspect)

    assert pairs_of("one") == [("7", "b", "a"), ("7", "c", "d"), ("7", "e", "x")]
    assert (report.num_stored, report.num_repeated, report.num_removed) == (1, 4, 2)


def test_where_no_row_can_be_used_nothing_goes(make, store, inspect, pairs_of):
    folder = make("one", *OLD)
    import_pairs(folder, store, inspect=inspect)
    for path in folder.glob("*.png"):
        path.unlink()
    report = import_pairs(folder, store, origin=ORIGIN, inspect=inspect)
    assert (report.num_skipped, report.num_removed, report.num_left) == (4, 0, 4)
    assert pairs_of("one") == sorted(OLD)


def test_replaced_with_nothing_signatures_and_users_follow(make, store, inspect):
    import_pairs(make("one", ("7", "a", "b"), ("8", "a", "c")), store, inspect=inspect)
    import_pairs(make("two", ("8", "d", "e")), store, inspect=inspect)
    signatures = SignatureStore(store.database)
    ones = np.ones(2, dtype=np.float32)
    signatures.put_many([Signature("7", "v", 1, ones), Signature("8", "v", 2, ones)])
    report = import_pairs(make("one"), store, origin=ORIGIN, inspect=inspect)
    assert report.num_removed == 2
    assert signatures.get("7", "v") is None
    assert signatures.stale("v") == [("8", store.revision("8"))]
    assert store.user("7").num_choices == 0
