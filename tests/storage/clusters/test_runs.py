"""Runs of clusters: seen whole or not at all, ids that last, and nothing of who was erased."""

from collections.abc import Callable
from datetime import timedelta
from functools import partial

import numpy as np
import pytest

from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft, ClusterImage, ClusterWord, Drift
from storage.clusters.runs import ClusterStore
from storage.errors import InvalidRecord, UnknownCluster

Build = Callable[..., str]


@pytest.fixture
def clusters(store) -> ClusterStore:
    return ClusterStore(store.database)


@pytest.fixture
def builder(store) -> ClusterBuilder:
    return ClusterBuilder(store.database)


@pytest.fixture
def people(store, choose) -> list[str]:
    """Twelve users, u00 to u11; each likes an image of their own."""
    ids = [f"u{number:02}" for number in range(12)]
    store.append_many(
        [choose(user_id=user_id, liked=user_id, passed_over=("common",)) for user_id in ids]
    )
    return ids


def draft(place: int, *centroid: float, images=(), words=()) -> ClusterDraft:
    vector = np.array(centroid or [1, 0], dtype=np.float32)
    liked = [image for image in images if image.z > 0]
    return ClusterDraft(place, 0.5, vector, liked, [i for i in images if i.z < 0], words)


def begin(builder: ClusterBuilder, groups: list[list[str]], version: str = "v1") -> int:
    num_users = sum(map(len, groups)) + 1
    run_id = builder.begin(version, "kmeans", {"num": len(groups)}, num_users=num_users)
    for place, group in enumerate(groups):
        near = [0.9 - 0.01 * number for number in range(len(group))]
        builder.add_members(run_id, group, [place] * len(group), near)
    return run_id


@pytest.fixture
def build(builder) -> Build:
    """Build a run of these groups; the first of a group is nearest its centroid."""

    def build(*groups: list[str], version: str = "v1", name=None, drafts=None) -> str:
        run_id = begin(builder, list(groups), version)
        given = drafts or [draft(place) for place in range(len(groups))]
        return builder.finish(run_id, given, name=name)

    return build


def by_id(clusters: ClusterStore, name: str) -> dict[int, set[str]]:
    run_id = clusters.run(name).run_id
    members: dict[int, set[str]] = {each.cluster_id: set() for each in clusters.clusters(run_id)}
    for member in clusters.members(run_id):
        members[member.cluster_id].add(member.user_id)
    return members


def test_a_run_comes_back_as_it_was_built(clusters, build, people, digest) -> None:
    images = [
        ClusterImage(digest("u00"), 3, 0, 0.5, 2.5, 9, 0.01),
        ClusterImage(digest("u01"), 2, 0, 0.5, 3.5),
        ClusterImage(digest("common"), 0, 4, 0.5, -1.5),
        ClusterImage(digest("never stored"), 9, 0, 0.5, 9.5),
    ]
    words = (ClusterWord("fox", 0.5, 0.25, 2.0, 0.04),)
    given = [draft(0, images=images, words=words), draft(1, 0, 1)]
    build(people[:7], people[7:10], name="spring", drafts=given)
    run = clusters.run()
    assert run == clusters.run("spring") == clusters.run(model_version="v1") == clusters.runs()[0]
    assert (run.method, run.parameters, run.model_version) == ("kmeans", {"num": 2}, "v1")
    assert (run.num_users, run.num_clusters, run.num_unclustered) == (11, 2, 1)
    assert run.created_at.tzinfo is not None
    large, small = clusters.clusters(run.run_id)
    assert (large.size, small.size, large.cohesion, large.medoid) == (7, 3, 0.5, "u00")
    assert large.typical_members == tuple(people[:7])
    assert [image.sha256 for image in large.liked_images] == [digest("u01"), digest("u00")]
    assert large.disliked_images == (images[2],)
    assert large.words == words
    assert large.drift is None
    assert clusters.cluster(run.run_id, small.cluster_id) == small
    assert [each.medoid for each in clusters.clusters(run.run_id)] == ["u00", "u07"]
    assert clusters.cluster_of(run.run_id, ["u00", "u09", "u11", "nobody"]) == {
        "u00": large.cluster_id,
        "u09": small.cluster_id,
    }


def test_members_come_by_pages(clusters, build, people) -> None:
    build(people[::2], people[1::2])
    run_id = clusters.run().run_id
    cluster_id = clusters.cluster_of(run_id, ["u01"])["u01"]
    first = clusters.members(run_id, cluster_id, limit=4)
    rest = clusters.members(run_id, cluster_id, after=first[-1].user_id, limit=4)
    assert [member.user_id for member in first + rest] == people[1::2]
    assert first[0].similarity == pytest.approx(0.9)
    assert {member.cluster_id for member in first + rest} == {cluster_id}
    everybody = clusters.members(run_id, limit=100)
    assert [member.user_id for member in everybody] == people
    with pytest.raises(ValueError, match="limit"):
        clusters.members(run_id, limit=0)


def test_an_id_stays_while_most_members_do(clusters, build, people) -> None:
    first = by_id(clusters, build(people[:6], people[6:12]))
    of_first = {frozenset(members): number for number, members in first.items()}
    kept = of_first[frozenset(people[:6])]
    # Five of six stay and one joins: Jaccard 5/7. The other is cut in halves: 3/6 is not more.
    name = build(people[9:12], [*people[1:6], people[6]], people[7:9])
    second = by_id(clusters, name)
    assert second[kept] == {*people[1:6], people[6]}
    assert set(second) & set(first) == {kept}
    assert min(set(second) - set(first)) > max(first)
    run_id = clusters.run(name).run_id
    assert clusters.cluster(run_id, kept).drift == Drift(0.0, 1, 1)
    others = [each for each in clusters.clusters(run_id) if each.cluster_id != kept]
    assert [each.drift for each in others] == [None, None]


def test_drift_is_one_minus_the_cosine_of_centroids(clusters, build, people) -> None:
    build(people[:6], drafts=[draft(0, 1, 0)])
    name = build(people[:6], drafts=[draft(0, 0.6, 0.8)])
    (cluster,) = clusters.clusters(clusters.run(name).run_id)
    assert cluster.drift.distance == pytest.approx(1 - 0.6)
    # Vectors of another version do not compare, but who is in it does.
    name = build(people[:6], version="v2", drafts=[draft(0, 1, 0, 0)])
    (again,) = clusters.clusters(clusters.run(name).run_id)
    assert again.cluster_id == cluster.cluster_id
    assert again.drift == Drift(None, 0, 0)


def test_an_id_is_never_given_twice(clusters, builder, build, people) -> None:
    build(people[:6], name="one")
    (old,) = by_id(clusters, "one")
    builder.remove(clusters.run("one").run_id)
    assert clusters.runs() == []
    build(people[:6], name="two")
    assert set(by_id(clusters, "two")) == {old + 1}
    assert clusters.run("two").run_id > 1


def test_a_run_is_not_seen_before_it_is_finished(clusters, builder, people) -> None:
    run_id = begin(builder, [people])
    assert clusters.runs() == []
    for read in (clusters.clusters, clusters.members):
        with pytest.raises(UnknownCluster, match="clusters build"):
            read(run_id)
    builder.finish(run_id, [draft(0)])
    assert len(clusters.members(run_id)) == 12
    with pytest.raises(UnknownCluster, match="build it again"):
        builder.add_members(run_id, ["u00"], [0], [1.0])


def test_what_was_given_up_is_swept_away(clusters, builder, people, monkeypatch) -> None:
    given_up, in_time = begin(builder, [people]), begin(builder, [people])
    builder.finish(in_time, [draft(0)])
    monkeypatch.setattr("storage.clusters.building._ABANDONED_AFTER", timedelta(seconds=-1))
    begin(builder, [])
    with pytest.raises(UnknownCluster, match="not being built"):
        builder.finish(given_up, [draft(0)])
    assert [run.run_id for run in clusters.runs()] == [in_time]


def test_two_that_finish_at_once_share_ids(clusters, stores, people, together) -> None:
    builders = [ClusterBuilder(stores().database) for _ in range(4)]
    groups = [people[:6], people[6:12]]
    runs = [begin(each, groups) for each in builders]
    drafts = [draft(0), draft(1)]
    names = together(
        [partial(each.finish, run, drafts) for each, run in zip(builders, runs, strict=True)]
    )
    assert len(set(names)) == 4
    assert all(by_id(clusters, name) == by_id(clusters, names[0]) for name in names)
    assert clusters.run().run_id == max(clusters.runs(), key=lambda run: run.created_at).run_id


def test_of_two_with_one_name_the_second_is_refused(clusters, builder, build, people) -> None:
    run_id = begin(builder, [people])
    build(people, name="spring")
    with pytest.raises(InvalidRecord, match="'spring' is taken: pass another --name"):
        builder.check_name("spring")
    with pytest.raises(InvalidRecord, match="'spring' is taken"):
        builder.finish(run_id, [draft(0)], name="spring")
    assert builder.finish(run_id, [draft(0)]) == f"run-{run_id}"


@pytest.mark.parametrize("name", ["", "a" * 129, "two\nlines", "a\x00b", "run-7"])
def test_names_that_are_refused(builder, name: str) -> None:
    with pytest.raises(InvalidRecord, match="name"):
        builder.check_name(name)


def test_an_erased_user_is_gone_from_all_of_it(store, clusters, build, people, digest) -> None:
    images = [
        ClusterImage(digest("u00"), 1, 0, 0.5, 2.0),
        ClusterImage(digest("u01"), 1, 0, 0.5, 1),
    ]
    build(people[:6], people[6:], drafts=[draft(0, images=images), draft(1)])
    run_id = clusters.run().run_id
    cluster_id = clusters.cluster_of(run_id, ["u00"])["u00"]
    store.erase("u00")
    cluster = clusters.cluster(run_id, cluster_id)
    assert (cluster.size, cluster.medoid) == (5, "u01")
    assert cluster.typical_members == tuple(people[1:6])
    assert [image.sha256 for image in cluster.liked_images] == [digest("u01")]
    assert clusters.cluster_of(run_id, ["u00"]) == {}
    assert "u00" not in {member.user_id for member in clusters.members(run_id)}
    assert "u00" not in {each.medoid for each in clusters.clusters(run_id)}
    assert sum(each.size for each in clusters.clusters(run_id)) == 11
    for user_id in people[1:6]:
        store.erase(user_id)
    empty = clusters.cluster(run_id, cluster_id)
    assert (empty.size, empty.medoid, empty.typical_members, empty.liked_images) == (
        0,
        None,
        (),
        (),
    )
    assert [each.medoid for each in clusters.clusters(run_id)] == ["u06", None]


def test_users_erased_while_a_run_is_built_are_left_out(store, clusters, builder, people) -> None:
    store.erase("u00")
    run_id = begin(builder, [people[:3], people[3:4]])
    store.erase("u01")
    store.erase("u03")
    builder.finish(run_id, [draft(0), draft(1)])
    assert [member.user_id for member in clusters.members(run_id)] == ["u02"]
    assert [each.size for each in clusters.clusters(run_id)] == [1]
    assert clusters.run().num_clusters == 1


def test_what_is_not_there_is_told_with_what_to_run(clusters, build, people) -> None:
    with pytest.raises(UnknownCluster, match="are built yet: run `recsys clusters build`"):
        clusters.run()
    build(people, name="spring")
    run_id = clusters.run().run_id
    with pytest.raises(UnknownCluster, match=r"'autumn'.*clusters list --runs"):
        clusters.run("autumn")
    with pytest.raises(UnknownCluster, match="model version v9"):
        clusters.run(model_version="v9")
    for cluster_id in (0, 99, -1, 2**80):
        with pytest.raises(UnknownCluster, match="clusters list"):
            clusters.cluster(run_id, cluster_id)
    for number in (run_id + 1, -1, 2**80):
        with pytest.raises(UnknownCluster, match="clusters build"):
            clusters.members(number)
    with pytest.raises(UnknownCluster):
        clusters.run("a\x00\ud800")
    assert clusters.cluster_of(run_id, ["\x00", "\ud800", "u00"]).keys() == {"u00"}
