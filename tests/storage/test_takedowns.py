"""An image that is taken down is gone from everywhere, and a blocked one does not come back."""

import hashlib
from datetime import UTC, datetime

import numpy as np
import pytest
from sqlalchemy import select

from storage import takedowns as module
from storage.backfill_ledger import BackfillLedger, BackfillState, LedgerEntry
from storage.browsing import Browser
from storage.clusters.building import ClusterBuilder
from storage.clusters.records import ClusterDraft, ClusterImage
from storage.clusters.runs import ClusterStore
from storage.coldstart.populations import ColdStartStore, StoredColdStart
from storage.coldstart.records import FirstQuestion, FirstQuestions
from storage.errors import ImageBlocked, InvalidRecord, UnknownImage
from storage.records import BlockedImage, Signature, Takedown
from storage.signatures import SignatureStore
from storage.tables import (
    ChoiceRow,
    ClusterImageRow,
    ClusterMemberRow,
    ImageRow,
    PassedOverRow,
)
from storage.takedowns import ImageTakedowns

VERSION = "v1"


@pytest.fixture
def takedowns(store) -> ImageTakedowns:
    return ImageTakedowns(store.database, store.blobs)


@pytest.fixture
def sound(store, files_of):
    """Check what holds after a takedown too: every image is named, and every named one is there."""

    def sound() -> dict[str, list[tuple[str | None, tuple[str, ...]]]]:
        histories = [store.read(user_id) for user_id in store.user_ids()]
        named: set[str] = set()
        for history in histories:
            revisions = [stored.revision for stored in history.choices]
            assert revisions == sorted(set(revisions))
            assert max(revisions, default=0) <= history.revision
            for stored in history.choices:
                named |= {*stored.choice.passed_over, *filter(None, [stored.choice.liked])}
        with store.database.session() as session:
            assert set(session.scalars(select(ImageRow.sha256))) == named
            ids = set(session.scalars(select(ChoiceRow.choice_id)))
            assert set(session.scalars(select(PassedOverRow.choice_id))) <= ids
        assert files_of(store) == sorted(named)
        for sha256 in named:
            assert hashlib.sha256(store.image(sha256)).hexdigest() == sha256
        return {
            each.user_id: [(s.choice.liked, s.choice.passed_over) for s in each.choices]
            for each in histories
        }

    return sound


def sign(store, user_id: str) -> None:
    signature = Signature(user_id, VERSION, store.revision(user_id), np.ones(4, np.float32))
    SignatureStore(store.database).put(signature)


def test_what_becomes_of_the_choices(store, takedowns, choose, digest, an_image, sound) -> None:
    store.append_many(
        [
            choose(liked="bad", passed_over=("alone", "b")),
            choose(liked="a", passed_over=("b", "bad", "c")),
            choose(liked=None, passed_over=("bad",)),
            choose("bob", liked="c", passed_over=("a",)),
            choose("cyd", liked="bad", passed_over=()),
        ]
    )
    gone = [an_image(name)[0] for name in ("bad", "alone")]

    taken = takedowns.remove(digest("bad"))

    a, b, c = map(digest, "abc")
    assert sound() == {"ann": [(a, (b, c))], "bob": [(c, (a,))], "cyd": []}
    assert taken == Takedown(3, 1, 2, sum(facts.num_bytes for facts in gone))
    for facts in gone:
        with pytest.raises(UnknownImage):
            store.image(facts.sha256)
        with pytest.raises(UnknownImage):
            store.image_facts(facts.sha256)
    # It may be stored again, as it is not blocked.
    store.append(*choose("dan", liked="bad"))
    assert sound()["dan"] == [(digest("bad"), (b,))]


def test_the_histories_are_other_ones_now(store, takedowns, choose, digest) -> None:
    store.append_many(
        [
            choose("ann", liked="bad"),
            choose("ann", liked="a"),
            choose("bob", liked="a", passed_over=("bad",)),
            choose("cyd", liked="a"),
        ]
    )
    for user_id in ("ann", "bob", "cyd"):
        sign(store, user_id)
    takedowns.remove(digest("bad"))
    assert [store.revision(user_id) for user_id in ("ann", "bob", "cyd")] == [3, 2, 1]
    signatures = SignatureStore(store.database)
    assert signatures.get("bob", VERSION) is None  # who has no pair left could have none anew
    assert signatures.stale(VERSION) == [("ann", 3), ("bob", 2)]
    listed = Browser(store.database).users(model_version=VERSION)
    assert [(each.user_id, each.is_fresh) for each in listed] == [
        ("ann", False),
        ("bob", False),
        ("cyd", True),
    ]
    assert all(each.last_choice_at is not None for each in listed)
    assert store.append(*choose("ann", liked="c")).stored.revision == 4


def test_many_choices_go_in_transactions_of_a_few(
    store, takedowns, choose, digest, sound, monkeypatch
) -> None:
    monkeypatch.setattr(module, "CHOICES_AT_ONCE", 2)
    numbers = range(7)
    store.append_many(
        [choose(f"u{n}", liked="bad", passed_over=(f"x{n}",)) for n in numbers]
        + [choose(f"u{n}", liked="a", passed_over=("bad",)) for n in numbers]
    )
    taken = takedowns.remove(digest("bad"))
    assert (taken.num_choices, taken.num_shortened, taken.num_images) == (7, 7, 8)
    assert sound() == {f"u{n}": [(digest("a"), ())] for n in numbers}


@pytest.mark.parametrize("is_blocked", [True, False])
def test_a_takedown_that_was_interrupted_is_finished_by_the_same_call(
    store, takedowns, choose, digest, sound, monkeypatch, is_blocked
) -> None:
    monkeypatch.setattr(module, "CHOICES_AT_ONCE", 1)
    store.append_many([choose(f"u{n}", liked="bad") for n in range(3)])
    bad = digest("bad")
    take = takedowns.block if is_blocked else takedowns.remove

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    for _ in range(4):  # after each of the transactions, and before bytes go
        with monkeypatch.context() as patch:
            patch.setattr(module, "remove_blobs", crash)
            with pytest.raises(KeyboardInterrupt):
                take(bad)
    assert store.blobs.exists(bad)
    take(bad)
    assert not store.blobs.exists(bad)
    if is_blocked:
        with pytest.raises(ImageBlocked):
            store.append(*choose("new", liked="bad"))


def test_first_questions_and_clusters_that_show_it_go(store, takedowns, choose, digest) -> None:
    store.append_many([choose("ann", liked="bad"), choose("bob", liked="a", passed_over=("c",))])
    bad, a, b, c = map(digest, ("bad", "a", "b", "c"))
    cold_starts = ColdStartStore(store.database)
    pairs = (FirstQuestion(a, c, "", 1.0), FirstQuestion(b, bad, "", 2.0))
    cold_starts.put(StoredColdStart(VERSION, 2, 2, b"", FirstQuestions("p", pairs)))
    builder = ClusterBuilder(store.database)
    run_id = builder.begin(VERSION, "kmeans", {}, num_users=2)
    builder.add_members(run_id, ["ann", "bob"], [0, 0], [1.0, 1.0])
    images = [ClusterImage(sha256, 1, 0, 0.5, 2.0) for sha256 in (a, bad)]
    centroid = np.ones(1, np.float32)
    builder.finish(run_id, [ClusterDraft(0, 1.0, centroid, liked_images=images)])

    takedowns.remove(bad)

    questions = cold_starts.first_questions(VERSION)
    assert questions is not None
    assert questions.pairs == pairs[:1]
    (cluster,) = ClusterStore(store.database).clusters(run_id)
    assert [image.sha256 for image in cluster.liked_images] == [a]
    with store.database.session() as session:
        assert list(session.scalars(select(ClusterImageRow.sha256))) == [a]


def test_who_has_no_choice_left_is_in_no_cluster_and_no_ledger(
    store, takedowns, choose, digest
) -> None:
    store.append_many(
        [
            choose("ann", liked="bad"),
            choose("bob", liked=None, passed_over=("bad",)),
            choose("cyd", liked="bad"),
            choose("cyd", liked="a"),
        ]
    )
    users = ["ann", "bob", "cyd"]
    builder = ClusterBuilder(store.database)
    run_id = builder.begin(VERSION, "kmeans", {}, num_users=3)
    builder.add_members(run_id, users, [0, 0, 0], [1.0, 1.0, 1.0])
    builder.finish(run_id, [ClusterDraft(0, 1.0, np.ones(1, np.float32))])
    ledger = BackfillLedger(store.database)
    tries = [LedgerEntry(each, VERSION, 1, "job", BackfillState.FAILED) for each in users]
    ledger.record(tries)

    takedowns.remove(digest("bad"))

    with store.database.session() as session:
        assert list(session.scalars(select(ClusterMemberRow.user_id))) == ["cyd"]
    (cluster,) = ClusterStore(store.database).clusters(run_id)
    assert cluster.size == 1
    assert list(ledger.entries(VERSION, users)) == ["cyd"]


def test_a_question_goes_with_the_first_transaction(
    store, takedowns, choose, digest, monkeypatch
) -> None:
    """Although other choices show the image still."""
    monkeypatch.setattr(module, "CHOICES_AT_ONCE", 1)
    store.append_many([choose(f"u{n}", liked="bad") for n in range(3)])
    bad, b = digest("bad"), digest("b")
    cold_starts = ColdStartStore(store.database)
    questions = FirstQuestions("p", (FirstQuestion(bad, b, "", 1.0),))
    cold_starts.put(StoredColdStart(VERSION, 2, 2, b"", questions))
    left = []

    def note(*_: object) -> None:
        left.append(cold_starts.first_questions(VERSION))

    monkeypatch.setattr(module, "remove_blobs", note)
    takedowns.remove(bad)
    assert left[0] == FirstQuestions("p", ())


def test_a_blocked_image_is_refused_and_nothing_of_the_batch_stored(
    store, takedowns, choose, digest, sound
) -> None:
    store.append(*choose(liked="bad", request_id="r"))
    store.append(*choose(liked="a", passed_over=("b", "bad"), request_id="s"))
    takedowns.block(digest("bad"), by="the help desk", reason="a face")
    before = sound()
    for again in (
        choose(liked="bad", request_id="r"),
        choose(liked="new", passed_over=("bad",)),
        choose("cyd", liked=None, passed_over=("bad",)),
    ):
        with pytest.raises(ImageBlocked, match="recsys images unblock") as refused:
            store.append_many([choose("bob", liked="other"), again])
        assert refused.value.sha256s == (digest("bad"),)
        assert digest("bad") in str(refused.value)
    assert sound() == before
    # A repeat stores nothing, so it may name what was taken out of the choice.
    assert store.append(*choose(liked="a", passed_over=("b", "bad"), request_id="s")).repeated


def test_an_image_is_blocked_before_anybody_has_stored_it(
    store, takedowns, choose, digest, sound
) -> None:
    assert takedowns.block(digest("bad")) == Takedown()
    with pytest.raises(ImageBlocked):
        store.append(*choose(liked="bad"))
    assert sound() == {}


def test_the_list_tells_when_by_whom_and_why(takedowns, digest) -> None:
    began = datetime.now(UTC)
    names = ["x", "y", "z"]
    for name in names:
        takedowns.block(digest(name), by="a clerk", reason=name)
    takedowns.block(digest("x"), by="another", reason="again")
    page = takedowns.list_blocked(limit=2)
    listed = page + takedowns.list_blocked(after=page[-1].sha256, limit=2)
    assert [each.sha256 for each in listed] == sorted(map(digest, names))
    assert all(each.blocked_by == "a clerk" for each in listed)
    assert sorted(each.reason for each in listed) == names
    assert all(began <= each.blocked_at <= datetime.now(UTC) for each in listed)


def test_unblocked_it_may_be_stored_again(store, takedowns, choose, digest, sound) -> None:
    store.append(*choose(liked="bad"))
    takedowns.block(digest("bad"), by="a clerk", reason="a face")
    was = takedowns.unblock(digest("bad"))
    assert was == BlockedImage(digest("bad"), was.blocked_at, "a clerk", "a face")
    assert sound() == {"ann": []}
    store.append(*choose(liked="bad"))
    assert takedowns.list_blocked() == []
    with pytest.raises(UnknownImage, match="not blocked"):
        takedowns.unblock(digest("bad"))


def test_the_blocked_are_found_among_others(takedowns, digest) -> None:
    def unread():
        raise AssertionError("nothing is blocked: no digest is needed")
        yield

    assert takedowns.blocked_among(unread()) == frozenset()
    takedowns.block(digest("bad"))
    names = [digest(str(number)) for number in range(1200)]
    assert takedowns.blocked_among([*names, digest("bad")]) == {digest("bad")}


def test_the_mark_changes_with_each_block(takedowns, digest) -> None:
    marks = [takedowns.mark()]
    for change in (takedowns.block, takedowns.unblock, takedowns.block):
        change(digest("bad"))
        marks.append(takedowns.mark())
    assert marks[0] == marks[2]
    assert len(set(marks)) == 3
    assert marks[0].newest_at is None
    assert marks[-1].newest_at.utcoffset().total_seconds() == 0


def test_the_mark_changes_again_once_the_image_is_gone(
    store, takedowns, choose, digest, monkeypatch
) -> None:
    """Between the two, others may read the image into memory still."""
    monkeypatch.setattr(module, "CHOICES_AT_ONCE", 1)
    store.append_many([choose(f"u{n}", liked="bad") for n in range(3)])
    marks = []
    monkeypatch.setattr(module, "remove_blobs", lambda *_: marks.append(takedowns.mark()))
    takedowns.block(digest("bad"))
    assert [each.num_stored for each in marks] == [1, 1, 0, 0, 0]


@pytest.mark.parametrize("sha256", ["", "ab", "AB" * 32, "../../etc/passwd"])
def test_anything_but_a_digest_is_refused(takedowns, sha256) -> None:
    for take in (takedowns.remove, takedowns.block, takedowns.unblock):
        with pytest.raises(InvalidRecord, match="64 lower-case hex digits"):
            take(sha256)


@pytest.mark.parametrize(
    "said", [{"by": "b" * 257}, {"by": "\x00"}, {"reason": "r" * 1001}, {"reason": "\ud800"}]
)
def test_what_is_said_has_rules(takedowns, digest, said) -> None:
    with pytest.raises(InvalidRecord):
        takedowns.block(digest("bad"), **said)
    assert takedowns.list_blocked() == []


def test_nothing_stored_is_nothing_to_remove(store, takedowns, choose, digest, sound) -> None:
    store.append(*choose())
    before = sound()
    with pytest.raises(UnknownImage, match="nothing to remove"):
        takedowns.remove(digest("bad"))
    assert sound() == before


def test_choices_that_come_while_it_is_blocked_are_refused_or_go(
    store, stores, takedowns, together, choose, digest, sound
) -> None:
    for turn in range(3):
        name = f"bad{turn}"

        def append(user: str, name: str = name) -> None:
            try:
                stores().append(*choose(user, liked=name, passed_over=(f"{user}{name}",)))
            except ImageBlocked:
                return

        together(
            [
                lambda: append("ann"),
                lambda name=name: takedowns.block(digest(name)),
                lambda: append("bob"),
            ]
        )
        assert all(choices == [] for choices in sound().values())


def test_a_question_that_was_chosen_meanwhile_is_not_stored(
    store, takedowns, choose, digest
) -> None:
    store.append(*choose(liked="bad"))
    takedowns.remove(digest("bad"))
    cold_starts = ColdStartStore(store.database)
    questions = FirstQuestions("p", (FirstQuestion(digest("bad"), digest("b"), "", 1.0),))
    cold_starts.put(StoredColdStart(VERSION, 1, 1, b"", questions))
    assert cold_starts.first_questions(VERSION).pairs == ()
