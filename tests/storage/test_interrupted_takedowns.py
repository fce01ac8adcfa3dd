"""A blocked image is read and shown no more, though its takedown ended after the first choices."""

import json
import zipfile
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from storage import takedowns as module
from storage.clusters.building import ClusterBuilder
from storage.clusters.opinions import count_opinions, image_opinions, prompt_uses
from storage.clusters.records import ClusterDraft, ClusterImage
from storage.clusters.runs import ClusterStore
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.coldstart.records import FirstQuestion, FirstQuestions
from storage.exporting import export_user
from storage.records import Signature
from storage.signatures import SignatureStore
from storage.takedowns import ImageTakedowns

VERSION = "v1"


@pytest.fixture
def takedowns(store) -> ImageTakedowns:
    return ImageTakedowns(store.database, store.blobs)


@pytest.fixture
def killed(store, takedowns, choose, digest, monkeypatch):
    """Block an image; the process ends after the first transaction of several."""
    store.append_many(
        [
            choose("ann", liked="a", passed_over=("b",)),
            choose("ann", liked="bad", passed_over=("c",), prompt="a face"),
            choose("ann", liked=None, passed_over=("bad",)),
            choose("ann", liked="c", passed_over=("bad", "b")),
            choose("bob", liked="bad", passed_over=("b",), prompt="a face"),
            choose("cyd", liked="bad", passed_over=("c",), prompt="a face"),
        ]
    )

    def killed() -> None:
        def end(*_: object) -> None:
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, "CHOICES_AT_ONCE", 1)
            patch.setattr(module, "remove_blobs", end)
            with pytest.raises(KeyboardInterrupt):
                takedowns.block(digest("bad"))
        assert takedowns.unfinished() == [digest("bad")]

    return killed


def shown(store) -> dict[str, list[tuple[str | None, tuple[str, ...]]]]:
    histories = [store.read(user_id) for user_id in store.user_ids()]
    return {
        each.user_id: [(s.choice.liked, s.choice.passed_over) for s in each.choices]
        for each in histories
    }


def test_histories_are_as_the_takedown_will_leave_them(store, takedowns, killed, digest) -> None:
    killed()
    a, b, c = map(digest, "abc")
    after = {"ann": [(a, (b,)), (c, (b,))], "bob": [], "cyd": []}
    assert shown(store) == after
    # A page is filled with choices that stand, so that it is not taken for the last one.
    assert [each.choice.liked for each in store.list_choices("ann", limit=2)] == [a, c]
    assert [each.choice.liked for each in store.read("ann", limit=2).choices] == [a, c]

    takedowns.take_down(digest("bad"))
    assert shown(store) == after
    assert takedowns.unfinished() == []
    assert [store.user(each).num_choices for each in ("ann", "bob", "cyd")] == [2, 0, 0]
    assert not store.blobs.exists(digest("bad"))


def test_an_archive_has_neither_its_bytes_nor_its_choices(store, killed, digest, tmp_path) -> None:
    killed()
    export_user(store.database, store.blobs, "ann", tmp_path / "ann.zip")
    with zipfile.ZipFile(tmp_path / "ann.zip") as archive:
        names = {name for name in archive.namelist() if name.startswith("images/")}
        lines = archive.read("choices.jsonl").decode().splitlines()
        assert digest("bad") not in archive.read("images.jsonl").decode()
    assert len(names) == 3
    choices = [json.loads(line) for line in lines]
    assert [(each["liked"], each["passed_over"]) for each in choices] == [
        (digest("a"), [digest("b")]),
        (digest("c"), [digest("b")]),
    ]


def test_clusters_lose_it_at_once_and_new_ones_do_not_count_it(store, killed, digest) -> None:
    builder = ClusterBuilder(store.database)
    draft = ClusterDraft(
        0,
        1.0,
        np.ones(1, np.float32),
        liked_images=[ClusterImage(digest(name), 1, 0, 0.5, 2.0) for name in ("a", "bad")],
    )
    before, meanwhile = (builder.begin(VERSION, "kmeans", {}, num_users=1) for _ in range(2))
    for run_id in (before, meanwhile):
        builder.add_members(run_id, ["ann"], [0], [1.0])
    builder.finish(before, [draft])
    killed()
    builder.finish(meanwhile, [draft])

    for run_id in (before, meanwhile):
        (cluster,) = ClusterStore(store.database).clusters(run_id)
        assert [image.sha256 for image in cluster.liked_images] == [digest("a")]
    opinions = list(image_opinions(store.database, meanwhile))
    assert {(each.sha256, each.num_likes, each.num_passes) for each in opinions} == {
        (digest("a"), 1, 0),
        (digest("b"), 0, 2),
        (digest("c"), 1, 0),
    }
    assert count_opinions(store.database) == (2, 2)
    assert {each.prompt for each in prompt_uses(store.database, meanwhile)} == {"a hill"}


def test_first_questions_show_it_neither_before_nor_after(store, killed, digest) -> None:
    a, b, bad = map(digest, ("a", "b", "bad"))
    cold_starts = ColdStartStore(store.database)
    pairs = (FirstQuestion(a, b, "", 1.0), FirstQuestion(b, bad, "", 2.0))
    learned = StoredColdStart(VERSION, 2, 2, b"", FirstQuestions("p", pairs))
    cold_starts.put(learned)
    killed()
    assert cold_starts.first_questions(VERSION).pairs == pairs[:1]
    cold_starts.put(learned)  # computed from what was read before
    assert cold_starts.first_questions(VERSION).pairs == pairs[:1]


def test_the_list_says_that_it_is_unfinished(takedowns, killed, digest) -> None:
    takedowns.block(digest("never stored"))
    killed()
    bad = digest("bad")
    told = {each.sha256: each.is_unfinished for each in takedowns.list_blocked()}
    assert told == {bad: True, digest("never stored"): False}
    now = datetime.now(UTC)
    assert takedowns.unfinished(until=now) == [bad]
    assert takedowns.unfinished(until=now - timedelta(minutes=1)) == []
    takedowns.block(bad)
    assert not any(each.is_unfinished for each in takedowns.list_blocked())


def test_unblocked_half_way_what_is_left_counts_again(store, takedowns, killed, digest) -> None:
    killed()
    assert takedowns.unblock(digest("bad")).is_unfinished
    assert takedowns.unfinished() == []
    assert sum(liked == digest("bad") for each in shown(store).values() for liked, _ in each) == 2


def test_what_was_read_during_the_block_is_stale_once_it_is_unblocked(
    store, takedowns, choose, digest
) -> None:
    store.append_many(
        [
            choose("ann", liked="bad"),
            choose("ann", liked="a", passed_over=("b",)),
            choose("bob", liked="a", passed_over=("bad", "b")),
            choose("cyd", liked="a", passed_over=("b",)),
        ]
    )
    takedowns.record_block(digest("bad"))  # and its process is killed
    signatures = SignatureStore(store.database)
    for user_id in store.user_ids():
        revision = store.revision(user_id)
        signatures.put(Signature(user_id, VERSION, revision, np.ones(4, np.float32)))
    assert signatures.stale(VERSION) == []

    takedowns.unblock(digest("bad"))

    assert [store.revision(user_id) for user_id in ("ann", "bob", "cyd")] == [3, 2, 1]
    assert signatures.stale(VERSION) == [("ann", 3), ("bob", 2)]
    assert store.append(*choose("ann", liked="c")).stored.revision == 4


def test_a_takedown_that_still_runs_ends_when_the_image_is_unblocked(
    store, stores, takedowns, choose, digest, monkeypatch
) -> None:
    bad = digest("bad")
    store.append_many([choose(f"u{n}", liked="bad", passed_over=(f"x{n}",)) for n in range(4)])
    monkeypatch.setattr(module, "CHOICES_AT_ONCE", 1)
    elsewhere = ImageTakedowns(stores().database, store.blobs)
    ended = []

    def unblock_once(*given: object) -> None:
        if not ended:  # after the first transaction of several
            ended.append(elsewhere.unblock(bad))
            store.append(*choose("new", liked="bad", passed_over=("c",)))
        remove_blobs(*given)

    remove_blobs = module.remove_blobs
    monkeypatch.setattr(module, "remove_blobs", unblock_once)
    taken = takedowns.block(bad)

    assert ended[0].is_unfinished
    assert (taken.num_choices, taken.num_images) == (1, 1)
    assert sum(liked == bad for each in shown(store).values() for liked, _ in each) == 4
    assert shown(store)["new"] == [(bad, (digest("c"),))]
    assert store.image(bad)
