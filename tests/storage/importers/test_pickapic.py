"""Pick-a-Pic rows: picks are stored, ties and rows without a label left out and counted."""

from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InvalidSource
from storage.importers.pickapic import COLUMNS, count_rows, import_pickapic

TIMES = pa.timestamp("ns")
NANOSECONDS = 1_674_000_000_123_456_789
AT = datetime.fromtimestamp(1_674_000_000, UTC).replace(microsecond=123456)


def row(ranking_id, picture, **changed):
    """A row whose first image was picked, but for what is changed."""
    return {
        "ranking_id": ranking_id,
        "user_id": 7,
        "caption": "a fox 🦊",
        "created_at": NANOSECONDS,
        "has_label": True,
        "label_0": 1.0,
        "label_1": 0.0,
        "jpg_0": picture(f"{ranking_id} left"),
        "jpg_1": picture(f"{ranking_id} right"),
        "best_image_uid": "unused",
    } | changed


def write(path, rows):
    types = {"created_at": TIMES, "jpg_0": pa.binary(), "jpg_1": pa.binary()}
    columns = {name: pa.array([row[name] for row in rows], types.get(name)) for name in rows[0]}
    pq.write_table(pa.table(columns), path)
    return path


def test_the_picked_image_is_liked_the_other_passed_over(tmp_path, store, inspect, picture, sha):
    rows = [row(1, picture), row(2, picture, label_0=0.0, label_1=1.0, user_id=8)]

    report = import_pickapic([write(tmp_path / "a.parquet", rows)], store, inspect=inspect)

    (first,), (second,) = (store.read(user_id).choices for user_id in ("7", "8"))
    assert (first.choice.liked, first.choice.passed_over) == (sha("1 left"), (sha("1 right"),))
    assert (second.choice.liked, second.choice.passed_over) == (sha("2 right"), (sha("2 left"),))
    assert (first.choice.prompt, first.choice.chosen_at) == ("a fox 🦊", AT)
    assert (first.choice.source, first.choice.request_id) == ("import:pickapic", "pickapic:1")
    assert store.image(sha("1 left")) == picture("1 left")
    assert (report.num_read, report.num_stored, report.num_skipped) == (2, 2, 0)


LEFT_OUT = [
    ("the labels are a tie", {"label_0": 0.5, "label_1": 0.5}),
    ("the row has no label", {"has_label": False}),
    ("the row has no label", {"has_label": None}),
    ("the row has no label", {"label_0": None, "label_1": None}),
    ("the row has no label", {"label_0": float("nan")}),
    ("the labels are neither a pick nor a tie", {"label_0": 0.7, "label_1": 0.3}),
    ("the labels are neither a pick nor a tie", {"label_0": float("inf")}),
    ("an image is missing", {"jpg_0": None}),
    ("an image is missing", {"jpg_1": b""}),
    ("the image cannot be used", {"jpg_0": b"no picture"}),
    ("the liked and the disliked image are the same", {"jpg_0": b"image x", "jpg_1": b"image x"}),
    ("user_id or ranking_id is missing", {"user_id": None}),
    ("user_id or ranking_id is missing", {"ranking_id": None}),
    ("created_at cannot be stored", {"created_at": 5 * NANOSECONDS}),
    ("the choice breaks a rule", {"caption": "x" * 10_001}),
    ("the choice breaks a rule", {"caption": "a\x00b"}),
]


def test_other_rows_are_left_out_and_counted(tmp_path, store, inspect, picture):
    rows = [row(index, picture) | change for index, (_, change) in enumerate(LEFT_OUT)]
    path = write(tmp_path / "a.parquet", [row(100, picture), *rows, row(101, picture)])

    report = import_pickapic([path], store, inspect=inspect)

    reasons = [reason for reason, _ in LEFT_OUT]
    assert report.skipped == {reason: reasons.count(reason) for reason in reasons}
    assert (report.num_read, report.num_stored) == (len(LEFT_OUT) + 2, 2)
    assert report.num_skipped == len(LEFT_OUT)
    assert report.examples["the labels are a tie"] == ["a.parquet row 2"]
    requests = [stored.choice.request_id for stored in store.read("7").choices]
    assert requests == ["pickapic:100", "pickapic:101"]


def test_a_missing_moment_and_caption_lose_no_pick(tmp_path, store, inspect, picture):
    path = write(tmp_path / "a.parquet", [row(1, picture, caption=None, created_at=None)])

    import_pickapic([path], store, inspect=inspect)

    (stored,) = store.read("7").choices
    assert (stored.choice.prompt, stored.choice.chosen_at.year) == ("", 1970)


def test_text_that_is_not_text_loses_its_row_alone(tmp_path, store, inspect, picture):
    path = write(tmp_path / "a.parquet", [row(1, picture), row(2, picture)])
    table = pq.read_table(path)
    broken = pa.StringArray.from_buffers(
        2, pa.py_buffer(b"\0\0\0\0\2\0\0\0\4\0\0\0"), pa.py_buffer(b"\xff\xfeok")
    )
    at = table.column_names.index("caption")
    pq.write_table(table.set_column(at, "caption", broken), path)

    report = import_pickapic([path], store, inspect=inspect)

    assert report.skipped == {"caption cannot be read": 1}
    assert [stored.choice.prompt for stored in store.read("7").choices] == ["ok"]


def test_a_ranking_in_two_files_is_stored_once(tmp_path, store, inspect, picture):
    first = write(tmp_path / "a.parquet", [row(1, picture), row(2, picture)])
    second = write(tmp_path / "b.parquet", [row(2, picture), row(3, picture)])

    report = import_pickapic([first, second], store, inspect=inspect)

    assert (report.num_read, report.num_stored, report.num_repeated) == (4, 3, 1)
    assert count_rows([first, second]) == 4


@pytest.mark.parametrize("missing", COLUMNS)
def test_a_missing_column_is_named_before_anything_is_stored(
    missing, tmp_path, store, inspect, picture
):
    good = write(tmp_path / "good.parquet", [row(1, picture)])
    cut = {name: value for name, value in row(2, picture).items() if name != missing}
    bad = write(tmp_path / "bad.parquet", [cut])

    with pytest.raises(InvalidSource, match=rf"bad\.parquet must have the column {missing}, got"):
        import_pickapic([good, bad], store, inspect=inspect)

    assert store.user_ids() == []


def test_files_that_are_none_are_named_before_anything_is_stored(tmp_path, store, inspect, picture):
    good = write(tmp_path / "good.parquet", [row(1, picture)])
    text = tmp_path / "text.parquet"
    text.write_text("hello")
    cut = tmp_path / "cut.parquet"
    cut.write_bytes(good.read_bytes()[:-20])

    for bad in (text, cut, tmp_path):
        with pytest.raises(InvalidSource, match=f"{bad.name} must be a whole Parquet file"):
            import_pickapic([good, bad], store, inspect=inspect)
    with pytest.raises(FileNotFoundError):
        import_pickapic([good, tmp_path / "gone.parquet"], store, inspect=inspect)

    assert store.user_ids() == []
