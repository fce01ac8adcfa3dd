"""Whose imported choices are: by data set, by prefix, and what an import with --replace removes."""

import csv

import pytest

from storage.datasets import num_choices_of
from storage.errors import InvalidRecord
from storage.importers.origin import Origin
from storage.importers.pairs import import_pairs
from storage.importers.ratings import import_ratings
from storage.signatures import SignatureStore

COLUMNS = ["user_id", "liked_image", "disliked_image", "prompt", "created_at"]


@pytest.fixture
def make(tmp_path, picture):
    """Write a folder of pairs: user, liked, disliked."""

    def make(name, *rows):
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for image in {each for _, *images in rows for each in images}:
            (folder / f"{image}.png").write_bytes(picture(image))
        with (folder / "pairs.csv").open("w", newline="") as file:
            lines = [(user, f"{a}.png", f"{b}.png", "p", "") for user, a, b in rows]
            csv.writer(file).writerows([COLUMNS, *lines])
        return folder

    return make


@pytest.fixture
def rated(tmp_path, picture):
    """A folder of ratings of one user, 5 to 1."""
    folder = tmp_path / "rated"
    (folder / "images").mkdir(parents=True)
    for name in "abcde":
        (folder / "images" / f"{name}.jpg").write_bytes(picture(name))
    with (folder / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image_id", "prompt"), *((name, "p") for name in "abcde")])
    with (folder / "ratings.csv").open("w", newline="") as file:
        rows = [("7", name, 5 - nth) for nth, name in enumerate("abcde")]
        csv.writer(file).writerows([("user_id", "image_id", "rating_1to5"), *rows])
    return folder


def datasets(store, user_id):
    return [stored.choice.dataset for stored in store.read(user_id).choices]


def test_the_folder_names_the_data_set_unless_somebody_does(make, store, inspect):
    folder = make("first", ("7", "a", "b"))
    import_pairs(folder, store, inspect=inspect)
    assert datasets(store, "7") == ["first"]
    import_pairs(make("second", ("8", "a", "b")), store, origin=Origin("mine"), inspect=inspect)
    assert datasets(store, "8") == ["mine"]
    assert num_choices_of(store.database, "mine") == 1


def test_equal_ids_of_two_data_sets_are_told_of_once_each(make, store, inspect, monkeypatch):
    monkeypatch.setattr("storage.importers._writer.MAX_ROWS", 1)
    monkeypatch.setattr("storage.importers._writer.MAX_KNOWN", 0)
    import_pairs(make("first", ("7", "a", "b"), ("8", "a", "b")), store, inspect=inspect)
    second = make("second", ("7", "c", "d"), ("9", "c", "d"), ("7", "e", "f"))
    report = import_pairs(second, store, inspect=inspect)
    assert (report.num_stored, report.num_merged) == (3, 1)
    assert datasets(store, "7") == ["first", "second", "second"]
    again = import_pairs(second, store, inspect=inspect)
    assert (again.num_repeated, again.num_merged, again.num_left) == (3, 0, 0)


def test_with_a_prefix_they_stay_two_people(make, store, inspect):
    import_pairs(make("first", ("7", "a", "b")), store, inspect=inspect)
    second = make("second", ("7", "a", "b"))
    origin = Origin("second", user_prefix="two:")
    assert import_pairs(second, store, origin=origin, inspect=inspect).num_merged == 0
    assert store.user_ids() == ["7", "two:7"]
    assert import_pairs(second, store, origin=origin, inspect=inspect).num_repeated == 1


def test_a_prefix_makes_no_id_of_none_and_keeps_the_limit(make, store, inspect):
    folder = make("first", ("", "a", "b"), ("u" * 256, "a", "b"), ("7", "a", "b"))
    report = import_pairs(folder, store, origin=Origin("x", user_prefix="x:"), inspect=inspect)
    assert report.skipped == {"user_id cannot be stored": 2}
    assert store.user_ids() == ["x:7"]


@pytest.mark.parametrize("wrong", [("",), ("d" * 257,), ("d", "p" * 257), ("\x00",)])
def test_a_bad_name_is_refused(wrong):
    with pytest.raises(InvalidRecord, match=r"dataset|user_prefix"):
        Origin(*wrong)


def test_other_thresholds_stand_beside_the_old_ones_and_it_is_told(rated, store, inspect):
    import_ratings(rated, store, inspect=inspect)
    before = store.read("7").choices
    report = import_ratings(rated, store, liked_min=5, disliked_max=1, inspect=inspect)
    assert report.num_left == len(before) - report.num_repeated > 0
    assert len(store.read("7").choices) == len(before) + report.num_stored


def test_replacing_leaves_what_a_first_import_would_and_the_rest(
    rated, make, store, inspect, files_of
):
    import_pairs(make("other", ("7", "y", "z")), store, inspect=inspect)
    import_ratings(rated, store, inspect=inspect)
    revision = store.revision("7")
    origin = Origin("rated", replaces=True)
    old = num_choices_of(store.database, "rated")

    report = import_ratings(rated, store, liked_min=5, origin=origin, inspect=inspect)

    assert (report.num_removed, report.num_left, report.num_repeated) == (old, 0, 0)
    assert datasets(store, "7") == ["other", *["rated"] * report.num_stored]
    assert store.revision("7") > revision + report.num_stored
    again = import_ratings(rated, store, liked_min=5, origin=origin, inspect=inspect)
    assert again.num_stored == again.num_removed == report.num_stored
    named = {
        sha256
        for stored in store.read("7").choices
        for sha256 in (stored.choice.liked, *stored.choice.passed_over)
    }
    assert files_of(store) == sorted(named)


def test_replaced_with_nothing_signatures_and_users_follow(make, store, inspect, monkeypatch):
    import numpy as np

    from storage.records import Signature

    monkeypatch.setattr("storage.removing.CHOICES_AT_ONCE", 2)
    import_pairs(make("one", ("7", "a", "b"), ("8", "a", "c")), store, inspect=inspect)
    import_pairs(make("two", ("8", "d", "e")), store, inspect=inspect)
    signatures = SignatureStore(store.database)
    ones = np.ones(2, dtype=np.float32)
    signatures.put_many([Signature("7", "v", 1, ones), Signature("8", "v", 2, ones)])
    empty = make("one")
    origin = Origin("one", replaces=True)
    assert import_pairs(empty, store, origin=origin, inspect=inspect).num_removed == 2
    assert signatures.get("7", "v") is None
    assert signatures.stale("v") == [("8", store.revision("8"))]
    assert store.user("7").num_choices == 0
