"""Images that were taken down do not come back with the files that they once came in."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from storage.importers.origin import Origin
from storage.importers.pairs import import_pairs
from storage.importers.pickapic import COLUMNS, import_pickapic
from storage.importers.ratings import import_ratings
from storage.records import Choice
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


NUM_LIKED, NUM_DISLIKED = 12, 10


@pytest.fixture
def many_rated(tmp_path, picture):
    """Three people's ratings of 22 images of one prompt: 12 are liked, 10 are not."""
    (tmp_path / "images").mkdir()
    liked = [f"l{number:02}" for number in range(NUM_LIKED)]
    disliked = [f"d{number:02}" for number in range(NUM_DISLIKED)]
    items, rates = ["image_id,prompt"], ["user_id,image_id,rating_1to5"]
    for name in liked + disliked:
        (tmp_path / "images" / f"{name}.png").write_bytes(picture(name))
        items.append(f"{name},p")
    for user in ("ann", "bob", "cyd"):
        # What ann and bob like and cyd does not.
        likes, dislikes = (disliked, liked) if user == "cyd" else (liked, disliked)
        rates += [f"{user},{name},5" for name in likes] + [f"{user},{name},1" for name in dislikes]
    (tmp_path / "items.csv").write_text("\n".join(items))
    (tmp_path / "ratings.csv").write_text("\n".join(rates))
    return tmp_path


@pytest.fixture(params=[False, True], ids=["within prompts", "across prompts"])
def rate(request, many_rated, inspect):
    """Import these ratings."""

    def rate(store, *, replaces=False):
        origin = Origin("rated", replaces=replaces)
        how = {"any_prompt": request.param, "origin": origin, "inspect": inspect}
        return import_ratings(many_rated, store, **how)

    return rate


def choices_of(store) -> set[Choice]:
    return {each.choice for user in store.user_ids() for each in store.read(user).choices}


def shown(choice: Choice) -> set[str]:
    return {*choice.passed_over, choice.liked} - {None}


@pytest.mark.parametrize("replaces", [False, True], ids=["beside", "replacing"])
@pytest.mark.parametrize("name", ["d03", "l05"])
def test_ratings_of_a_blocked_image_are_known_again(
    rate, store, other_store, block, sha, name, replaces
) -> None:
    whole = rate(store)
    block(name)
    left = choices_of(store)
    assert len(left) < whole.num_stored

    report = rate(store, replaces=replaces)

    assert (report.num_stored, report.num_repeated) == (0, len(left))
    assert (report.num_left, report.num_removed) == (0, 0)
    # Each rating is in a choice that is left, or left out: those of the image, and of images that
    # only a choice which liked it had passed over.
    used = {(each.user_id, image) for each in left for image in shown(each)}
    num_out = whole.num_read - len(used)
    assert (report.num_read, report.skipped) == (whole.num_read, {REASON: num_out})
    assert choices_of(store) == left
    ImageTakedowns(other_store.database, other_store.blobs).block(sha(name))
    fresh = rate(other_store)
    assert (fresh.num_stored, fresh.skipped) == (len(left), {REASON: num_out})
    assert choices_of(other_store) == left
    assert not other_store.blobs.exists(sha(name))


def test_a_block_during_the_import_shortens_too(many_rated, store, inspect, block, sha) -> None:
    def block_late(data):
        if data.endswith(b"l11"):  # looked at last, before anything is stored
            block("d03")
        return inspect(data)

    report = import_ratings(many_rated, store, inspect=block_late)
    assert report.num_stored == 2 * NUM_LIKED + NUM_DISLIKED - 1
    assert not any(sha("d03") in shown(choice) for choice in choices_of(store))


@pytest.mark.parametrize("kind", ["pairs", "pickapic"])
def test_replacing_keeps_what_was_shortened(
    kind, store, tmp_path, picture, inspect, block, make
) -> None:
    origin = Origin("one", replaces=True)
    if kind == "pairs":
        folder = make("one", ("ann", "a", "bad"), ("ann", "a", "c"))

        def read():
            return import_pairs(folder, store, origin=origin, inspect=inspect)
    else:
        rows = [
            (number, 7, "p", None, True, 1.0, 0.0, picture("a"), picture(other))
            for number, other in enumerate(("bad", "c"))
        ]
        table = pa.table({name: [row[at] for row in rows] for at, name in enumerate(COLUMNS)})
        pq.write_table(table, tmp_path / "some.parquet")

        def read():
            files = [tmp_path / "some.parquet"]
            return import_pickapic(files, store, origin=origin, inspect=inspect)

    read()
    block("bad")
    left = choices_of(store)
    report = read()
    assert (report.num_repeated, report.num_stored, report.num_removed) == (2, 0, 0)
    assert choices_of(store) == left
    assert {choice.passed_over for choice in left} > {()}
