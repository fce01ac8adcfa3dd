"""Real ratings of real images, when they are at hand: counts taken from the files by hand."""

import csv
from collections import Counter, defaultdict
from functools import partial
from pathlib import Path
from statistics import mean

import pytest

from recsys.images.decode import inspect as inspect_image
from storage.importers.ratings import import_ratings

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "avt"
pytestmark = pytest.mark.skipif(not FOLDER.is_dir(), reason="the real ratings are not at hand")


@pytest.fixture(scope="module")
def rated():
    """{user: {image: mean appeal}}, {image: prompt}, and the number of rows by question."""
    given, num_rows = defaultdict(lambda: defaultdict(list)), Counter()
    with (FOLDER / "ratings.csv").open() as file:
        for row in csv.DictReader(file):
            num_rows[row["question"]] += 1
            if row["question"] == "appeal":
                given[row["user_id"]][row["image_id"]].append(int(row["rating_1to5"]))
    with (FOLDER / "items.csv").open() as file:
        prompts = {row["image_id"]: row["prompt"] for row in csv.DictReader(file)}
    return given, prompts, num_rows


@pytest.fixture
def run(store):
    """Import with the checks that serving uses."""
    return partial(import_ratings, FOLDER, store, inspect=inspect_image)


def test_pairs_within_prompts_are_those_of_the_file(rated, run, store):
    given, prompts, num_rows = rated
    pairs, alone, between = Counter(), 0, 0
    for user_id, images in given.items():
        sides = defaultdict(lambda: ([], []))
        for image_id, ratings in images.items():
            if 2 < mean(ratings) < 4:
                between += len(ratings)
            else:
                sides[prompts[image_id]][mean(ratings) < 4].append(image_id)
        for liked, disliked in sides.values():
            pairs[user_id] += len(liked) * len(disliked)
            alone += 0 if liked and disliked else len(liked) + len(disliked)

    report = run()

    assert report.num_read == sum(num_rows.values())
    assert report.skipped == {
        "the rating is of another question": num_rows["realism"] + num_rows["prompt_match"],
        "neither liked nor disliked": between,
    }
    assert report.num_unpaired == alone
    assert {user: store.user(user).num_pairs for user in store.user_ids()} == dict(pairs)
    assert sum(pairs.values()) > 1000
    choices = [stored.choice for user in store.user_ids() for stored in store.read(user).choices]
    assert {choice.prompt for choice in choices} == set(prompts.values())
    assert {choice.chosen_at.year for choice in choices} == {2022}


def test_pairs_at_random_use_each_image_once(rated, run, store):
    given, _, _ = rated
    expected = {
        user_id: (
            sum(mean(ratings) >= 4 for ratings in images.values()),
            sum(mean(ratings) <= 2 for ratings in images.values()),
        )
        for user_id, images in given.items()
    }

    report = run(any_prompt=True, seed=5)

    assert report.num_stored == sum(max(sides) for sides in expected.values())
    for user_id, (num_liked, num_disliked) in expected.items():
        assert store.user(user_id).num_pairs == min(num_liked, num_disliked)
        choices = [stored.choice for stored in store.read(user_id).choices]
        liked = [choice.liked for choice in choices if choice.liked]
        passed = [sha256 for choice in choices for sha256 in choice.passed_over]
        assert (len(set(liked)), len(set(passed))) == (num_liked, num_disliked)
    assert run(any_prompt=True, seed=5).num_stored == 0
