import hashlib
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest

from recsys.images.decode import inspect
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.records import SharingRules
from storage.sharing import ImageSharing
from training.evaluation.metrics import accuracy
from training.world.creation import create_world
from training.world.truth import read_truth

SMALL = {"num_users": 5, "seed": 7, "num_choices": 6, "num_prompts": 8, "size_px": 32}


@pytest.fixture
def make_store(tmp_path):
    opened = []

    def make(name="one"):
        database = Database(f"sqlite:///{tmp_path / name}.db")
        opened.append(database)
        upgrade(database)
        return HistoryStore(database, BlobStore((tmp_path / f"{name}-blobs").as_uri()))

    yield make
    for database in opened:
        database.dispose()


@pytest.fixture
def store(make_store):
    return make_store()


@pytest.fixture
def truth_path(tmp_path):
    return tmp_path / "truth.npz"


def choices_of(store):
    return {
        user_id: [stored.choice for stored in store.read(user_id).choices]
        for user_id in store.user_ids()
    }


def test_everybody_chooses_among_two_to_four_images_of_different_prompts(store, truth_path):
    report = create_world(store, truth_path=truth_path, **SMALL)
    assert (report.num_users, report.num_images, report.num_stored) == (5, 64, 30)
    everything = choices_of(store)
    assert list(everything) == [f"s7-u{n:05d}" for n in range(5)]
    for choices in everything.values():
        assert len(choices) == 6
        assert len({choice.prompt for choice in choices}) == 6
        times = [choice.chosen_at for choice in choices]
        assert all(b - a >= timedelta(minutes=1) for a, b in pairwise(times))
        for choice in choices:
            assert 1 <= len(choice.passed_over) <= 3
            assert len({choice.liked, *choice.passed_over}) == 1 + len(choice.passed_over)
            assert choice.source == "world"
            assert choice.request_id is not None


def test_long_histories_end_before_now_too(store, truth_path):
    create_world(
        store,
        num_users=1,
        seed=7,
        num_choices=400,
        images_per_prompt=4,
        size_px=16,
        truth_path=truth_path,
    )
    (choices,) = choices_of(store).values()
    assert len(choices) == 400
    assert choices[-1].chosen_at < datetime(2026, 6, 1, tzinfo=UTC)


def test_images_may_be_shown_to_others(store, truth_path):
    create_world(store, truth_path=truth_path, **SMALL)
    choices = [choice for choices in choices_of(store).values() for choice in choices]
    named = {name for each in choices for name in (each.liked, *each.passed_over)}
    assert ImageSharing(store.database).shown_among(named, SharingRules(1)) == named


def test_images_are_in_storage_and_their_truth_beside_it(store, truth_path):
    create_world(store, truth_path=truth_path, **SMALL)
    truth = read_truth(truth_path)
    names = {
        name
        for choices in choices_of(store).values()
        for choice in choices
        for name in (choice.liked, *choice.passed_over)
    }
    assert truth.attributes_of(sorted(names)).shape == (len(names), 9)
    for name in names:
        data = store.image(name)
        assert hashlib.sha256(data).hexdigest() == name
        assert inspect(data) == store.image_facts(name)
        assert store.image_facts(name).width == 32


def test_the_same_seed_makes_the_same_world(make_store, tmp_path):
    stores = [make_store("one"), make_store("two")]
    for number, store in enumerate(stores):
        create_world(store, truth_path=tmp_path / f"{number}.npz", **SMALL)
    assert choices_of(stores[0]) == choices_of(stores[1])
    tastes = [read_truth(tmp_path / f"{number}.npz").tastes for number in (0, 1)]
    assert np.array_equal(*tastes)


def test_run_again_it_stores_nothing_twice(store, truth_path):
    create_world(store, truth_path=truth_path, **SMALL)
    before = choices_of(store)
    report = create_world(store, truth_path=truth_path, **SMALL)
    assert (report.num_stored, report.num_repeated) == (0, 30)
    assert choices_of(store) == before
    assert len(read_truth(truth_path).user_ids) == 5


def test_an_interrupted_world_is_completed_and_its_truth_is_known_before(
    make_store, truth_path, tmp_path, monkeypatch
):
    monkeypatch.setattr("training.world.creation._PEOPLE_A_TRANSACTION", 2)
    store, whole = make_store("one"), make_store("two")

    def stop(what, done, total):
        if (what, done) == ("people", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        create_world(store, truth_path=truth_path, progress=stop, **SMALL)
    assert [len(choices) for choices in choices_of(store).values()] == [6, 6]
    assert len(read_truth(truth_path).user_ids) == 5
    report = create_world(store, truth_path=truth_path, **SMALL)
    assert (report.num_stored, report.num_repeated) == (18, 12)
    create_world(whole, truth_path=tmp_path / "whole.npz", **SMALL)
    assert choices_of(store) == choices_of(whole)


def test_a_world_can_be_enlarged(store, truth_path):
    create_world(store, truth_path=truth_path, **SMALL)
    before = choices_of(store)
    larger = {**SMALL, "num_users": 7, "num_choices": 9, "num_prompts": 12}
    report = create_world(store, truth_path=truth_path, **larger)
    assert (report.num_stored, report.num_repeated) == (63 - 30, 30)
    after = choices_of(store)
    assert all(after[user][:6] == choices for user, choices in before.items())
    truth = read_truth(truth_path)
    shown = {name for choices in after.values() for c in choices for name in c.passed_over}
    assert len(truth.attributes_of(sorted(shown))) == len(shown)


def test_worlds_of_other_seeds_share_communities_and_nothing_else(store, truth_path):
    create_world(store, truth_path=truth_path, **SMALL)
    first = read_truth(truth_path)
    create_world(store, truth_path=truth_path, **{**SMALL, "seed": 8})
    both = read_truth(truth_path)
    assert len(both.user_ids) == 10
    assert len({digest.tobytes() for digest in both.digests}) == 2 * len(first.digests)
    assert np.array_equal(both.communities.centers, first.communities.centers)
    assert not np.allclose(both.taste("s8-u00000"), both.taste("s7-u00000"))


def test_other_communities_need_another_truth_and_stores_nothing(store, truth_path):
    create_world(store, truth_path=truth_path, **SMALL)
    with pytest.raises(ValueError, match="other communities"):
        create_world(store, truth_path=truth_path, communities_seed=1, **{**SMALL, "seed": 8})
    assert len(store.user_ids()) == 5


def test_people_choose_by_their_taste(store, truth_path):
    varied = {**SMALL, "num_users": 50, "num_choices": 12, "num_prompts": 80, "size_px": 16}
    create_world(store, truth_path=truth_path, **varied)
    truth = read_truth(truth_path)
    everything = choices_of(store)

    def known(name_of_taste):
        margins = [
            scores[0] - scores[1:]
            for user, choices in everything.items()
            for choice in choices
            for scores in [
                truth.attributes_of([choice.liked, *choice.passed_over]).astype(float)
                @ truth.taste(name_of_taste(user))
            ]
        ]
        return accuracy(np.concatenate(margins))

    assert known(lambda user: user) == pytest.approx(0.85, abs=0.04)
    assert known(lambda user: "s7-u00000") < 0.7


def test_progress_is_told_to_the_end(store, truth_path):
    calls = []
    create_world(store, truth_path=truth_path, progress=lambda *step: calls.append(step), **SMALL)
    assert [step for step in calls if step[0] == "images"][-1] == ("images", 64, 64)
    assert calls[-1] == ("people", 5, 5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"num_users": 0}, "needs people"),
        ({"num_choices": 0}, "needs people and choices"),
        ({"num_prompts": 5}, "no prompt is shown twice"),
        ({"images_per_prompt": 3}, "at least 4, got 3"),
    ],
)
def test_impossible_worlds_are_refused_before_anything_is_drawn(store, truth_path, change, message):
    with pytest.raises(ValueError, match=message):
        create_world(store, truth_path=truth_path, **{**SMALL, **change})
    assert not truth_path.exists()
    assert store.user_ids() == []
