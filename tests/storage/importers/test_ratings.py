"""Ratings -> choices: what is paired, what is kept alone, what is left out."""

import csv
from datetime import UTC, datetime

import pytest

from storage.errors import InvalidSource
from storage.importers.ratings import count_rows, import_ratings

ITEMS = ["image_id", "generator", "prompt_id", "prompt"]
RATINGS = ["user_id", "image_id", "question", "rating_1to5", "rated_at"]
NO_TIME = "2024-01-01 00:00:00 000000"


def write_csv(path, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.fixture
def make(tmp_path, picture):
    """Write a folder: items as "name prompt", ratings as rows."""

    def make(items, ratings):
        folder = tmp_path / "ratings"
        (folder / "images").mkdir(parents=True, exist_ok=True)
        rows = [(name, "g", prompt, f"prompt {prompt}") for name, prompt in map(str.split, items)]
        for name, *_ in rows:
            (folder / "images" / f"{name}.jpg").write_bytes(picture(name))
        write_csv(folder / "items.csv", [ITEMS, *rows])
        write_csv(folder / "ratings.csv", [RATINGS, *ratings])
        return folder

    return make


@pytest.fixture
def names(sha):
    """Choices of a user by image names: (liked, passed over, prompt)."""
    name_of = {sha(name): name for name in "abcdefghijklmnopqrstuvwxyz"} | {None: None}

    def names(store, user_id):
        return [
            (
                name_of[stored.choice.liked],
                "".join(name_of[each] for each in stored.choice.passed_over),
                stored.choice.prompt,
            )
            for stored in store.read(user_id).choices
        ]

    return names


def rate(user, **ratings):
    """One minute between two ratings."""
    return [
        (user, name, "appeal", rating, f"2024-01-01 00:{minute:02}:00 000007")
        for minute, (name, rating) in enumerate(ratings.items())
    ]


def test_each_liked_image_passes_over_the_disliked_of_its_prompt(make, store, inspect, names):
    items = ["a p", "b p", "c p", "d p", "e p", "x q", "y q", "z r"]
    ratings = rate("ann", a=5, b=4, c=1, d=2, e=3, x=5, y=3, z=1)

    report = import_ratings(make(items, ratings), store, inspect=inspect)

    assert names(store, "ann") == [
        ("a", "cd", "prompt p"),
        ("b", "dc", "prompt p"),  # in turn, so that the first pairs differ
        ("x", "", "prompt q"),
        (None, "z", "prompt r"),
    ]
    times = [stored.choice.chosen_at for stored in store.read("ann").choices]
    assert times[0] == datetime(2024, 1, 1, 0, 3, 0, 7, UTC)  # when the last of its images was
    assert (report.num_read, report.num_stored, report.num_unpaired) == (8, 4, 2)
    assert report.skipped == {"neither liked nor disliked": 2}


def test_any_prompt_pairs_each_image_once_at_random(make, store, other_store, inspect, names):
    liked, disliked = "abcdefgh", "stuvwx"
    items = [f"{name} {name}" for name in liked + disliked]
    ratings = rate("ann", **dict.fromkeys(liked, 5), **dict.fromkeys(disliked, 1))
    folder = make(items, ratings)
    options = {"any_prompt": True, "inspect": inspect}

    import_ratings(folder, store, seed=1, **options)

    drawn = names(store, "ann")
    assert sorted(one for one, _, _ in drawn) == list(liked)
    assert sorted(other for _, other, _ in drawn) == ["", "", *disliked]
    assert all(prompt == f"prompt {one}" for one, _, prompt in drawn)
    assert import_ratings(folder, store, seed=1, **options).num_stored == 0
    import_ratings(folder, other_store, seed=2, **options)
    assert sorted(names(other_store, "ann")) != sorted(drawn)


def test_any_prompt_keeps_dislikes_that_find_no_partner(make, store, inspect, names):
    folder = make(["a p", "b q", "c r"], rate("ann", a=5, b=1, c=1))

    report = import_ratings(folder, store, any_prompt=True, inspect=inspect)

    (one, other) = sorted(names(store, "ann"), key=lambda choice: choice[0] is None)
    assert one[0] == "a"
    assert other[0] is None
    assert sorted(one[1] + other[1]) == ["b", "c"]
    assert report.num_unpaired == 1


def test_ratings_of_one_image_count_as_their_mean(make, store, inspect, names):
    rows = [
        *rate("ann", a=5, b=1, c=4),
        ("ann", "a", "appeal", 3, "2024-01-01 00:09:00 000000"),  # mean 4: liked
        ("ann", "b", "appeal", 4, NO_TIME),  # mean 2.5: neither
        ("ann", "c", "realism", 1, NO_TIME),  # another question
    ]
    folder = make(["a p", "b p", "c p"], rows)

    report = import_ratings(folder, store, inspect=inspect)

    assert names(store, "ann") == [("c", "", "prompt p"), ("a", "", "prompt p")]
    assert store.read("ann").choices[1].choice.chosen_at == datetime(2024, 1, 1, 0, 9, tzinfo=UTC)
    assert report.num_read == 6
    assert report.skipped == {
        "neither liked nor disliked": 2,
        "the rating is of another question": 1,
    }


def test_without_a_question_all_ratings_count(make, store, inspect, names):
    rows = [*rate("ann", a=5, b=1), ("ann", "b", "realism", 5, NO_TIME)]

    import_ratings(make(["a p", "b p"], rows), store, question=None, inspect=inspect)

    assert names(store, "ann") == [("a", "", "prompt p")]


def test_few_columns_are_enough(tmp_path, store, inspect, picture, names):
    (tmp_path / "images").mkdir()
    for name, suffix in (("a", "webp"), ("b", "png"), ("c", "jpeg")):
        (tmp_path / "images" / f"{name}.{suffix}").write_bytes(picture(name))
    (tmp_path / "items.csv").write_text("prompt,image_id\nfox,a\nfox,b\nfox,c\n")
    (tmp_path / "ratings.csv").write_text("rating_1to5,image_id,user_id\n1,a,u\n5,b,u\n5.0,c,u\n")

    import_ratings(tmp_path, store, inspect=inspect)

    assert names(store, "u") == [("b", "a", "fox"), ("c", "a", "fox")]
    assert store.read("u").choices[0].choice.chosen_at.year == 1970
    assert count_rows(tmp_path) == 3


def test_thresholds_hold_at_their_bounds(make, store, inspect, names):
    folder = make(["a p", "b p", "c p"], rate("ann", a=3, b=2.9, c=2.8))

    import_ratings(folder, store, liked_min=3, disliked_max=2.8, inspect=inspect)

    assert names(store, "ann") == [("a", "c", "prompt p")]
    for low, high in ((3, 3), (4, 2), (float("nan"), 3)):
        with pytest.raises(ValueError, match="disliked_max must be below liked_min"):
            import_ratings(folder, store, liked_min=high, disliked_max=low, inspect=inspect)


def test_bad_ratings_are_left_out_alone(make, store, inspect, names):
    bad = {
        "the rating is no number from 1 to 5": [
            ("ann", "a", "appeal", rating, NO_TIME) for rating in ("", "nan", "6", "0", "inf", "x")
        ],
        "the image is not in items.csv": [("ann", "nothing", "appeal", 5, NO_TIME)],
        "rated_at is not a moment in ISO 8601": [("ann", "a", "appeal", 1, "yesterday")],
        "rated_at cannot be stored": [("ann", "a", "appeal", 1, "2350-01-01 00:00:00 000000")],
        "user_id is empty": [("", "a", "appeal", 5, NO_TIME)],
        "image_id is empty": [("ann", "", "appeal", 5, NO_TIME)],
        "the line is malformed": [("ann", "a", "appeal")],
        "user_id cannot be stored": [
            ("u" * 1000, "a", "appeal", 5, NO_TIME),
            ("nul \x00", "a", "appeal", 5, NO_TIME),
        ],
    }
    rows = [row for rows in bad.values() for row in rows]
    folder = make(["a p", "b p"], [*rate("ann", a=5), *rows, *rate("ann", b=1)])

    report = import_ratings(folder, store, inspect=inspect)

    assert report.skipped == {reason: len(rows) for reason, rows in bad.items()}
    assert names(store, "ann") == [("a", "b", "prompt p")]
    assert report.num_read == len(rows) + 2
    assert "ratings.csv line 3: got ''" in report.examples["the rating is no number from 1 to 5"]


def test_a_bad_image_costs_no_other_image_its_choice(make, store, inspect, names, tmp_path):
    items = ["a p", "b p", "c p", "d p", "e p"]
    folder = make(items, [*rate("ann", a=5, b=1, c=1, d=1, e=1), *rate("bob", b=1, c=5)])
    rows = [(name, "g", "p", "prompt p") for name in "abcde"]
    write_csv(folder / "items.csv", [ITEMS, *rows, ("a", "g", "q", "again"), ("../x", "", "p", "")])
    (folder / "images" / "b.jpg").unlink()
    (folder / "images" / "c.jpg").write_bytes(b"no picture")
    (folder / "images" / "d.jpg").unlink()
    (folder / "images" / "d.jpg").symlink_to(tmp_path / "elsewhere.jpg")
    with (folder / "ratings.csv").open("a") as file:
        file.write(f"ann,../x,appeal,5,{NO_TIME}\n")

    report = import_ratings(folder, store, inspect=inspect)

    assert names(store, "ann") == [("a", "e", "prompt p")]
    assert store.user_ids() == ["ann"]
    assert report.skipped == {
        "image file is missing": 2,
        "the image cannot be used": 2,
        "image path leads out of the folder": 2,
        "the image stands twice in items.csv": 1,
    }


def test_copies_of_one_image_are_passed_over_once(make, store, inspect, picture, names):
    folder = make(["a p", "b p", "c p"], rate("ann", a=5, b=1, c=1))
    (folder / "images" / "c.jpg").write_bytes(picture("b"))

    import_ratings(folder, store, inspect=inspect)

    assert names(store, "ann") == [("a", "b", "prompt p")]


def test_files_and_columns_must_be_there(make, store, inspect):
    folder = make(["a p"], rate("ann", a=5))
    (folder / "ratings.csv").write_text("user_id,rating\n1,5\n")
    with pytest.raises(
        InvalidSource, match="columns image_id and rating_1to5, got user_id, rating"
    ):
        import_ratings(folder, store, inspect=inspect)
    (folder / "ratings.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"No ratings\.csv there"):
        import_ratings(folder, store, inspect=inspect)
    (folder / "items.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"No items\.csv and no ratings\.csv there"):
        import_ratings(folder, store, inspect=inspect)
    with pytest.raises(FileNotFoundError, match="No such folder"):
        import_ratings(folder / "gone", store, inspect=inspect)
    with pytest.raises(InvalidSource, match=r"must be a folder with items\.csv and ratings\.csv"):
        import_ratings(folder / "images" / "a.jpg", store, inspect=inspect)
    assert store.user_ids() == []
