"""Pairs in all three formats: the same choices, bad rows left out alone."""

import json
import re
from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.errors import InvalidSource
from storage.importers.pairs import count_rows, import_pairs

COLUMNS = ["user_id", "liked_image", "disliked_image", "prompt", "created_at"]
ROWS = [
    ("ann", "a.png", "b.png", 'a "red", car', "2024-01-02T03:04:05+02:00"),
    ("bob", "c.png", "a.png", "two\nlines 🐟", "2024-01-02T03:04:05"),
    ("ann", "c.png", "", "", ""),
    ("ann", "", "b.png", "", "2024-01-02"),
]


@pytest.fixture
def folder(tmp_path, picture):
    """A folder with a few images and no pairs file yet."""
    folder = tmp_path / "pairs"
    folder.mkdir()
    for name in "abc":
        (folder / f"{name}.png").write_bytes(picture(name))
    return folder


def quoted(cell):
    return '"' + cell.replace('"', '""') + '"'


def write_csv(folder, rows, header=COLUMNS):
    lines = [",".join(header), *(",".join(map(quoted, row)) for row in rows)]
    (folder / "pairs.csv").write_text("\n".join(lines) + "\n", "utf-8")


def write_json(folder, rows, picture):
    lines = [json.dumps(dict(zip(COLUMNS, row, strict=True))) for row in rows]
    (folder / "pairs.jsonl").write_text("\n".join(lines), "utf-8")


def write_parquet(folder, rows, picture):
    table = pa.table({name: [row[i] for row in rows] for i, name in enumerate(COLUMNS)})
    pq.write_table(table, folder / "pairs.parquet")


def write_parquet_of_bytes(folder, rows, picture):
    """Images as bytes, moments as timestamps in nanoseconds."""
    images = {
        name: [picture(row[i].removesuffix(".png")) if row[i] else None for row in rows]
        for i, name in ((1, "liked_image"), (2, "disliked_image"))
    }
    moments = [datetime.fromisoformat(row[4]) if row[4] else None for row in rows]
    plain = [m and (m.astimezone(UTC) if m.tzinfo else m).replace(tzinfo=None) for m in moments]
    table = pa.table(
        {
            "user_id": [row[0] for row in rows],
            **images,
            "prompt": [row[3] for row in rows],
            "created_at": pa.array(plain, pa.timestamp("ns")),
        }
    )
    pq.write_table(table, folder / "pairs.parquet")


WRITERS = [
    lambda folder, rows, picture: write_csv(folder, rows),
    write_json,
    write_parquet,
    write_parquet_of_bytes,
]


@pytest.mark.parametrize("write", WRITERS, ids=["csv", "jsonl", "parquet", "parquet of bytes"])
def test_every_format_gives_the_same_choices(write, folder, store, inspect, picture, sha):
    write(folder, ROWS, picture)

    report = import_pairs(folder, store, inspect=inspect)

    assert (report.num_read, report.num_stored, report.num_unpaired) == (4, 4, 2)
    assert report.skipped == {}
    ann = [stored.choice for stored in store.read("ann").choices]
    (bob,) = [stored.choice for stored in store.read("bob").choices]
    assert [(choice.liked, choice.passed_over, choice.prompt) for choice in ann] == [
        (sha("a"), (sha("b"),), 'a "red", car'),
        (sha("c"), (), ""),
        (None, (sha("b"),), ""),
    ]
    assert ann[0].chosen_at == datetime(2024, 1, 2, 1, 4, 5, tzinfo=UTC)
    assert ann[2].chosen_at == datetime(2024, 1, 2, tzinfo=UTC)
    assert ann[1].chosen_at - datetime(1970, 1, 1, tzinfo=UTC) < timedelta(seconds=1)
    assert (bob.prompt, bob.chosen_at) == (ROWS[1][3], datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC))
    assert store.image(sha("a")) == picture("a")
    assert ann[0].source == "import:pairs"
    assert count_rows(folder) >= 4


@pytest.mark.parametrize("write", WRITERS, ids=["csv", "jsonl", "parquet", "parquet of bytes"])
def test_again_from_another_format_stores_nothing_twice(
    write, folder, store, inspect, picture, snapshot
):
    write_csv(folder, ROWS)
    import_pairs(folder, store, inspect=inspect)
    before = snapshot(store)
    (folder / "pairs.csv").unlink()
    write(folder, ROWS, picture)

    report = import_pairs(folder, store, inspect=inspect)

    assert (report.num_stored, report.num_repeated, report.num_unpaired) == (0, 4, 0)
    assert snapshot(store) == before


def test_equal_rows_are_one_choice_other_moments_are_another(folder, store, inspect):
    row = ("ann", "a.png", "b.png", "", "2024-01-01")
    write_csv(folder, [row, row, (*row[:4], "2024-01-02")])

    report = import_pairs(folder, store, inspect=inspect)

    assert (report.num_read, report.num_stored, report.num_repeated) == (3, 2, 1)


def test_created_at_is_an_optional_column(folder, store, inspect):
    rows = [(user, "a.png", "b.png", "") for user in ("ann", "bob")]
    write_csv(folder, rows, COLUMNS[:4])

    import_pairs(folder, store, inspect=inspect)

    ann, bob = (store.read(user).choices[0].choice.chosen_at for user in ("ann", "bob"))
    assert ann.year == bob.year == 1970
    assert ann < bob


BAD_ROWS = {
    "user_id cannot be stored": [
        ("u" * 1000, "a.png", "b.png", "", ""),
        ("a\x00b", "a.png", "b.png", "", ""),
        ("", "a.png", "b.png", "", ""),
    ],
    "the choice breaks a rule": [
        ("ann", "a.png", "b.png", "p" * 10_001, ""),
        ("ann", "a.png", "b.png", "nul \x00", ""),
    ],
    "created_at is not a moment in ISO 8601": [("ann", "a.png", "b.png", "", "yesterday")],
    "created_at cannot be stored": [
        ("ann", "a.png", "b.png", "", "2350-01-01"),
        ("ann", "a.png", "b.png", "", "0001-06-01"),
    ],
    "neither a liked nor a disliked image is named": [("ann", "", "", "a prompt", "")],
    "the liked and the disliked image are the same": [
        ("ann", "a.png", "a.png", "", ""),
        ("ann", "a.png", "copy.png", "", ""),
    ],
    "image file is missing": [("ann", "a.png", "gone.png", "", "")],
    "image path is not a file": [("ann", "folder", "b.png", "", "")],
    "the image cannot be used": [
        ("ann", "text.png", "b.png", "", ""),
        ("ann", "a.png", "empty.png", "", ""),
    ],
    "image path leads out of the folder": [
        ("ann", "../secret.png", "b.png", "", ""),
        ("ann", "folder/../../secret.png", "b.png", "", ""),
        ("ann", "link.png", "b.png", "", ""),
        ("ann", "/etc/hostname", "b.png", "", ""),
    ],
    "image path cannot be used": [("ann", "nul\x00.png", "b.png", "", "")],
    "image file cannot be read": [("ann", "n" * 300 + ".png", "b.png", "", "")],
}


@pytest.fixture
def traps(folder, picture):
    """Files that must not be taken."""
    (folder.parent / "secret.png").write_bytes(picture("secret"))
    (folder / "link.png").symlink_to(folder.parent / "secret.png")
    (folder / "folder").mkdir()
    (folder / "text.png").write_text("hello")
    (folder / "empty.png").touch()
    (folder / "copy.png").write_bytes(picture("a"))
    return folder


@pytest.mark.parametrize("reason", BAD_ROWS)
@pytest.mark.parametrize("write", WRITERS[:3], ids=["csv", "jsonl", "parquet"])
def test_a_bad_row_is_left_out_alone(write, reason, traps, store, inspect, picture, snapshot):
    good = [("ann", "a.png", "b.png", "first", ""), ("ann", "c.png", "b.png", "last", "")]
    write(traps, [good[0], *BAD_ROWS[reason], good[1]], picture)

    report = import_pairs(traps, store, inspect=inspect)

    assert report.skipped == {reason: len(BAD_ROWS[reason])}
    assert (report.num_stored, report.num_skipped) == (2, len(BAD_ROWS[reason]))
    assert [choice[2] for choice in snapshot(store)["ann"]] == ["first", "last"]
    place = "row 2" if (traps / "pairs.parquet").exists() else "line"
    assert place in report.examples[reason][0]


def test_a_link_inside_the_folder_is_followed(folder, store, inspect, sha):
    (folder / "same.png").symlink_to(folder / "a.png")
    write_csv(folder, [("ann", "same.png", "b.png", "", "")])

    import_pairs(folder, store, inspect=inspect)

    assert store.read("ann").choices[0].choice.liked == sha("a")


def test_a_whole_number_is_a_user_id_other_types_are_not(folder, store, inspect):
    images = {"liked_image": "a.png", "disliked_image": "b.png"}
    rows = [{"user_id": 7, **images}, {"user_id": True, **images}, {"user_id": [7], **images}]
    rows.append({"user_id": "7", "liked_image": 7})
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))

    report = import_pairs(folder, store, inspect=inspect)

    assert store.user_ids() == ["7"]
    assert report.skipped == {"user_id is not text": 2, "liked_image is not text": 1}


def test_examples_tell_equal_details_once(folder, store, inspect):
    images = {"liked_image": "a.png", "disliked_image": "b.png"}
    lines = [images, images, images | {"user_id": "u" * 257}]
    (folder / "pairs.jsonl").write_text("\n".join(map(json.dumps, lines)))

    (first, second, third) = import_pairs(folder, store, inspect=inspect).examples[
        "user_id cannot be stored"
    ]

    assert first.startswith("pairs.jsonl line 1: user_id must not be empty")
    assert second == "pairs.jsonl line 2"
    assert third.startswith("pairs.jsonl line 3: user_id must")


def test_examples_are_few_and_short(folder, store, inspect):
    write_csv(folder, [("ann", "n" * 5000, "b.png", "", "")] * 10)

    report = import_pairs(folder, store, inspect=inspect)

    ((reason, examples),) = report.examples.items()
    assert report.skipped[reason] == 10
    assert len(examples) == 3
    assert max(map(len, examples)) == 200


def test_the_folder_must_hold_one_file(folder, store, inspect):
    with pytest.raises(FileNotFoundError, match="No such folder"):
        import_pairs(folder / "gone", store, inspect=inspect)
    with pytest.raises(FileNotFoundError, match=r"No pairs\.csv, pairs\.jsonl or pairs\.parquet"):
        import_pairs(folder, store, inspect=inspect)
    write_csv(folder, ROWS)
    with pytest.raises(InvalidSource, match="must be a folder"):
        import_pairs(folder / "pairs.csv", store, inspect=inspect)
    write_json(folder, ROWS, None)
    with pytest.raises(InvalidSource, match=r"pairs\.csv and pairs\.jsonl"):
        import_pairs(folder, store, inspect=inspect)
    assert store.user_ids() == []


def test_missing_columns_are_named_before_anything_is_stored(folder, store, inspect):
    write_csv(folder, [("ann", "a.png")], ["user_id", "liked_image"])
    with pytest.raises(InvalidSource, match="columns disliked_image and prompt, got user_id"):
        import_pairs(folder, store, inspect=inspect)
    (folder / "pairs.csv").unlink()
    pq.write_table(pa.table({"user_id": ["ann"], "prompt": [""]}), folder / "pairs.parquet")
    with pytest.raises(
        InvalidSource, match="columns liked_image and disliked_image, got user_id, prompt:"
    ):
        import_pairs(folder, store, inspect=inspect)
    assert store.user_ids() == []


def test_a_file_without_names_of_columns_is_told_each_of_them_once(folder, store, inspect):
    write_csv(folder, [], ["ann", "a.png", "b.png", ""])
    with pytest.raises(InvalidSource) as refused:
        import_pairs(folder, store, inspect=inspect)
    words = re.findall(r"\w+", str(refused.value))
    assert [words.count(name) for name in COLUMNS[:4]] == [1, 1, 1, 1]


def test_a_column_that_stands_twice_is_refused(folder, store, inspect):
    names = ["user_id", *COLUMNS[:4]]
    write_csv(folder, [("ann", "bob", "a.png", "b.png", "")], names)
    with pytest.raises(InvalidSource, match=r"pairs\.csv must name each column once, got user_id"):
        import_pairs(folder, store, inspect=inspect)
    (folder / "pairs.csv").unlink()
    cells = [["ann"], ["a.png"], ["b.png"], [""], [None], [None]]
    twice = pa.table(cells, names=[*COLUMNS, "created_at"])
    pq.write_table(twice, folder / "pairs.parquet")
    with pytest.raises(InvalidSource, match="must name each column once, got created_at twice"):
        import_pairs(folder, store, inspect=inspect)
    assert store.user_ids() == []


def test_columns_without_a_name_may_be_several(folder, store, inspect):
    write_csv(folder, [("ann", "a.png", "b.png", "", "", "")], [*COLUMNS[:4], "", ""])

    assert import_pairs(folder, store, inspect=inspect).num_stored == 1
