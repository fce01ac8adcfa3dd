"""Images are looked at once while they keep coming back."""

import csv
from collections import Counter

import pytest

from storage.importers import _image_folder as image_folder
from storage.importers._image_folder import remembering
from storage.importers.ratings import import_ratings


@pytest.fixture
def seen(inspect):
    """A check that counts how often it is asked for which image."""
    counts = Counter()

    def counting(data):
        counts[data] += 1
        return inspect(data)

    counting.counts = counts
    return counting


def test_facts_are_those_of_the_check(seen, inspect, picture):
    check = remembering(seen)

    for name in "abaab":
        assert check(picture(name)) == inspect(picture(name))

    assert seen.counts == {picture("a"): 1, picture("b"): 1}


def test_what_is_refused_stays_refused(seen):
    check = remembering(seen)

    for _ in range(2):
        with pytest.raises(ValueError, match="must be an image"):
            check(b"text")


def test_only_the_images_seen_last_are_remembered(seen, picture, monkeypatch):
    monkeypatch.setattr(image_folder, "MAX_REMEMBERED", 2)
    check = remembering(seen)

    for name in "abacab":  # c drives out b, for a was seen after it
        check(picture(name))

    assert seen.counts == {picture("a"): 1, picture("b"): 2, picture("c"): 1}


def test_ratings_look_at_each_image_once(tmp_path, seen, picture, store):
    (tmp_path / "images").mkdir()
    names = "abcdef"
    for name in names:
        (tmp_path / "images" / f"{name}.png").write_bytes(picture(name))
    ratings = [(user, name, 5 if name < "d" else 1) for user in "xyz" for name in names]
    for file, rows in (
        ("items.csv", [("image_id", "prompt"), *((name, "p") for name in names)]),
        ("ratings.csv", [("user_id", "image_id", "rating_1to5"), *ratings]),
    ):
        with (tmp_path / file).open("w", newline="") as opened:
            csv.writer(opened).writerows(rows)

    report = import_ratings(tmp_path, store, inspect=seen)

    assert report.num_stored == 9
    assert seen.counts == {picture(name): 1 for name in names}
