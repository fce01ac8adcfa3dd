"""Images that other users may be shown: marked, and seen by enough people."""

import pytest
from sqlalchemy import select

from storage import sharing as module
from storage.errors import InvalidRecord, UnknownImage
from storage.records import SharingRules
from storage.sharing import ImageSharing, is_seen_by
from storage.tables import ImageRow
from storage.takedowns import ImageTakedowns


@pytest.fixture
def sharing(store) -> ImageSharing:
    return ImageSharing(store.database)


@pytest.fixture
def marked(store):
    """The images that are marked, as they are now."""

    def marked() -> set[str]:
        with store.database.session() as session:
            return set(session.scalars(select(ImageRow.sha256).where(ImageRow.shareable)))

    return marked


def test_what_is_appended_is_marked_only_when_it_is_said(store, choose, digest, marked) -> None:
    store.append(*choose(liked="a", passed_over=("b",)))
    assert marked() == set()
    store.append(*choose("bob", liked="b", passed_over=("c",)), shareable=True)
    assert marked() == {digest("b"), digest("c")}  # b was stored before
    store.append(*choose("cyd", liked="c", passed_over=("d",)))
    assert marked() == {digest("b"), digest("c")}


def test_a_repeat_marks_what_it_shows(store, choose, digest, marked) -> None:
    """An import that is run again with the mark does what it says."""
    store.append(*choose(request_id="r"))
    assert store.append(*choose(request_id="r"), shareable=True).repeated
    assert marked() == {digest("a"), digest("b")}


def test_a_repeat_marks_nothing_that_its_choice_does_not_show(
    store, choose, digest, marked
) -> None:
    store.append(*choose(request_id="r"))
    store.append(*choose("bob", liked="c", passed_over=()))
    other, images = choose(liked="c", passed_over=(), request_id="r")
    assert store.append(other, images, shareable=True).repeated
    assert marked() == {digest("a"), digest("b")}


def test_marks_are_set_and_taken(store, sharing, choose, digest, marked) -> None:
    store.append_many([choose(), choose("bob", liked="c")])
    a, b, c = map(digest, "abc")
    assert sharing.mark([a, b, a], shareable=True) == 2
    assert sharing.mark([a, c], shareable=True) == 1
    assert sharing.mark([a], shareable=False) == 1
    assert marked() == {b, c}
    assert sharing.mark(None, shareable=True) == 1
    assert sharing.mark(None, shareable=False) == 3
    assert marked() == set()


@pytest.mark.parametrize("name", ["new", "no digest"])
def test_a_mark_needs_a_stored_image(store, sharing, choose, digest, marked, name) -> None:
    store.append(*choose())
    given = digest(name) if name == "new" else name
    with pytest.raises(UnknownImage if name == "new" else InvalidRecord):
        sharing.mark([digest("a"), given], shareable=True)
    assert marked() == set()


def test_an_image_that_comes_back_has_no_mark(store, choose, marked) -> None:
    store.append(*choose(), shareable=True)
    store.erase("ann")
    store.restore("ann")
    store.append(*choose())
    assert marked() == set()


def test_shown_is_what_is_marked_and_seen_by_enough_people(store, sharing, choose, digest) -> None:
    a, b, c = map(digest, "abc")
    for user in ("ann", "bob"):
        store.append(*choose(user, liked="a", passed_over=("b",)), shareable=True)
        store.append(*choose(user, liked="a", passed_over=("c",)))
    store.append(*choose("cyd", liked="b", passed_over=()))

    def shown(min_users: int) -> frozenset[str]:
        return sharing.shown_among([a, b, c, digest("new")], SharingRules(min_users))

    assert shown(1) == shown(2) == {a, b}
    assert shown(3) == {b}  # whoever liked it and who passed it over have both seen it
    assert shown(4) == frozenset()
    store.erase("cyd")
    assert shown(3) == frozenset()


def test_choices_that_a_block_leaves_out_count_no_more(store, sharing, choose, digest) -> None:
    for user in ("ann", "bob", "cyd"):
        store.append(*choose(user, liked="bad", passed_over=("a",)), shareable=True)
    rules = SharingRules(3)
    assert sharing.shown_among([digest("a")], rules) == {digest("a")}
    ImageTakedowns(store.database, store.blobs).record_block(digest("bad"), by="", reason="")
    assert sharing.shown_among([digest("a")], rules) == frozenset()


@pytest.mark.parametrize("num_sampled", [1, 64])
def test_people_are_counted_once_and_by_prompt(
    store, choose, digest, monkeypatch, num_sampled
) -> None:
    monkeypatch.setattr(module, "_NUM_SAMPLED", num_sampled)
    for number in range(5):
        store.append(*choose("ann", liked="a", passed_over=(f"x{number}",)))
    for user in ("ann", "bob", "cyd"):
        store.append(*choose(user, liked=f"y{user}", passed_over=("a",), prompt=f"of {user}"))
    with store.database.session() as session:
        seen = [is_seen_by(session, digest("a"), number) for number in (1, 3, 4)]
        of_bob = [is_seen_by(session, digest("a"), number, prompt="of bob") for number in (1, 2)]
    assert seen == [True, True, False]
    assert of_bob == [True, False]


def test_rules_begin_strict() -> None:
    assert SharingRules() == SharingRules(min_users=3, prompts=False)
