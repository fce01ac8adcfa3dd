"""What clusters liked, passed over and wrote: the counts of a naive reading of all histories."""

from collections import Counter

import numpy as np
import pytest

from storage.clusters import opinions
from storage.clusters.building import ClusterBuilder
from storage.clusters.opinions import NO_CLUSTER, count_opinions, image_opinions, prompt_uses
from storage.consents import ConsentStore

PLACES = {"ann": 0, "bob": 0, "cyd": 1}  # eve is in no cluster, fay is in one of another run


@pytest.fixture
def run_id(store, choose) -> int:
    """A run of two clusters over users who chose at random among six images."""
    rng = np.random.default_rng(0)
    for user_id in ("ann", "bob", "cyd", "eve", "fay"):
        for _ in range(8):
            names = [str(each) for each in rng.permutation(6)[:3]]
            liked = names[0] if rng.random() < 0.8 else None
            prompt = str(rng.choice(["a fox", "a castle", ""]))
            store.append(
                *choose(user_id=user_id, liked=liked, passed_over=names[1:], prompt=prompt)
            )
    builder = ClusterBuilder(store.database)
    other = builder.begin("v1", "kmeans", {}, num_users=1)
    builder.add_members(other, ["fay", "ann"], [0, 1], [1.0, 1.0])
    run_id = builder.begin("v1", "kmeans", {}, num_users=3)
    builder.add_members(run_id, list(PLACES), list(PLACES.values()), [1.0] * 3)
    return run_id


def choices(store):
    for user_id in store.user_ids():
        for stored in store.read(user_id).choices:
            yield PLACES.get(user_id, NO_CLUSTER), stored.choice


def test_images_are_counted_by_cluster(store, run_id: int, monkeypatch) -> None:
    monkeypatch.setattr(opinions, "_ROWS_AT_ONCE", 2)
    likes, passes, balance = Counter(), Counter(), Counter()
    for place, choice in choices(store):
        shown = [(choice.liked, 1)] if choice.liked else []
        for sha256, liked in [*shown, *((sha256, -1) for sha256 in choice.passed_over)]:
            balance[sha256, place, choice.user_id] += liked
        likes.update([(choice.liked, place)] if choice.liked else [])
        passes.update((sha256, place) for sha256 in choice.passed_over)
    counts = list(image_opinions(store.database, run_id))
    assert {(each.sha256, each.place) for each in counts} == set(likes) | set(passes)
    assert len(counts) == len(set(likes) | set(passes))
    for each in counts:
        assert each.num_likes == likes[each.sha256, each.place]
        assert each.num_passes == passes[each.sha256, each.place]
        of_users = [n for (*key, _), n in balance.items() if key == [each.sha256, each.place]]
        assert each.num_users == len(of_users)
        assert each.num_likers == sum(n > 0 for n in of_users)
    digests = [each.sha256 for each in counts]
    assert digests == sorted(digests)  # all of an image's together
    assert count_opinions(store.database) == (likes.total(), passes.total())


def test_prompts_are_counted_by_user(store, run_id: int) -> None:
    uses = Counter(
        (choice.prompt, place, choice.user_id) for place, choice in choices(store) if choice.prompt
    )
    counts = list(prompt_uses(store.database, run_id))
    assert {(each.prompt, each.place, each.user_id): each.num_choices for each in counts} == uses
    users = [each.user_id for each in counts]
    assert users == sorted(users)  # all of a user's together


def test_nothing_is_counted_where_nothing_is(database) -> None:
    assert list(image_opinions(database, 1)) == list(prompt_uses(database, 1)) == []
    assert count_opinions(database) == (0, 0)


def test_who_is_not_learned_from_is_not_counted(store, run_id: int) -> None:
    counted = {user_id for user_id in store.user_ids() if user_id != "eve"}
    ConsentStore(store.database).update("eve", learn_from=False)
    uses = list(prompt_uses(store.database, run_id))
    assert {use.user_id for use in uses} == counted
    choices = [stored.choice for user in counted for stored in store.read(user).choices]
    likes = sum(choice.liked is not None for choice in choices)
    passes = sum(len(choice.passed_over) for choice in choices)
    assert count_opinions(store.database) == (likes, passes)
    found = list(image_opinions(store.database, run_id))
    assert sum(each.num_likes for each in found) == likes
    assert sum(each.num_passes for each in found) == passes
