"""Whom the demonstration ranks for, and how agreement is counted."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from training.demo.people import agreement, most_unlike, rated_cast

AVT = Path(__file__).parents[4] / "shared" / "data" / "avt"


def test_agreement_counts_pairs_and_leaves_out_ties() -> None:
    worth = {"a": 3.0, "b": 2.0, "c": 2.0, "d": 1.0}
    assert agreement(["a", "b", "c", "d"], worth) == 1.0
    assert agreement(["d", "c", "b", "a"], worth) == 0.0
    assert agreement(["b", "a", "c", "d"], worth) == 4 / 5
    assert math.isnan(agreement(["b", "c"], worth))


def test_the_most_unlike_point_apart() -> None:
    tastes = np.array([[1.0, 0.0], [0.9, 0.1], [-1.0, 0.0], [0.0, 1.0]])
    assert sorted(most_unlike(tastes)) == [0, 2, 3]


@pytest.mark.skipif(not AVT.exists(), reason="the real ratings are not beside this checkout")
def test_candidates_of_real_raters_are_kept_from_their_histories(sqlite_store, tmp_path) -> None:
    cast = rated_cast(AVT, sqlite_store, tmp_path)
    asked = {candidate.image for candidate in cast.candidates}
    with (AVT / "items.csv").open() as file:
        prompts = {row["image_id"]: row["prompt_id"] for row in csv.DictReader(file)}
    held_out = {prompts[candidate.id] for candidate in cast.candidates}
    assert len(held_out) == 2
    for user_id in sqlite_store.user_ids():
        for stored in sqlite_store.read(user_id).choices:
            named = [*stored.choice.passed_over, stored.choice.liked]
            assert not asked & {sqlite_store.image(sha256) for sha256 in named if sha256}
    for person in cast.people:
        assert set(person.worth) == {candidate.id for candidate in cast.candidates}
        assert sqlite_store.user(person.user_id).num_pairs > 0
