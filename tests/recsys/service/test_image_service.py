"""RemoveImage, BlockImage, UnblockImage and ListBlockedImages through a real channel."""

import time
from contextlib import suppress
from datetime import UTC, datetime
from hashlib import sha256

import pytest

from recsys.client import RecsysClient
from recsys.errors import InvalidRequest, NotFound, PreconditionFailed
from recsys.ranking.candidates import Personalization
from recsys.reasons import Reason
from recsys.service.erasures import INTERRUPTED_AFTER
from storage.errors import UnknownImage
from storage.histories import HistoryStore
from storage.tables import BlockedImageRow
from storage.takedowns import ImageTakedowns

GIVE_UP_S = 60.0


@pytest.fixture
def digest(png):
    return lambda shade: sha256(png(shade)).hexdigest()


@pytest.fixture
def shown(client, png) -> None:
    """Ann liked 0 and passed 255 over; bob did so with 1 and 0."""
    client.record_choice("ann", liked=png(0), passed_over=[png(255)])
    client.record_choice("bob", liked=png(1), passed_over=[png(0), png(9)])


def until(condition, within_s: float = GIVE_UP_S) -> None:
    end = time.monotonic() + within_s
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


@pytest.mark.usefixtures("shown")
def test_removing_tells_how_much_went(live, client, png, digest):
    removed = client.images.remove(digest(0))

    assert (removed.num_choices, removed.num_shortened, removed.num_images) == (1, 1, 2)
    assert removed.num_bytes == len(png(0)) + len(png(255))
    with pytest.raises(UnknownImage):
        live.store.image(digest(0))
    assert client.get_user("ann").num_choices == 0
    with pytest.raises(NotFound, match="nothing to remove") as refused:
        client.images.remove(digest(0))
    assert refused.value.reason == Reason.IMAGE_NOT_FOUND
    client.record_choice("ann", liked=png(0))


@pytest.mark.usefixtures("shown")
def test_what_memory_has_read_from_it_is_used_no_more_and_dropped(live, client, candidate, digest):
    candidates = [candidate("dark", 10), candidate("bright", 200)]
    for user in ("ann", "bob", "nobody"):
        client.rank(user, candidates)
    assert live.engine.stats.cache_entries == 3

    client.images.remove(digest(255))

    ranking = client.rank("ann", candidates)
    assert ranking.personalization is Personalization.COLD_START
    until(lambda: live.engine.stats.cache_entries == 2)
    hits = live.engine.stats.cache_hits
    client.rank("bob", candidates)
    assert live.engine.stats.cache_hits == hits + 1


@pytest.mark.usefixtures("shown")
def test_a_block_of_another_process_empties_memory_too(live, client, candidate, digest):
    client.rank("ann", [candidate("a", 10)])
    assert live.engine.stats.cache_entries == 1

    ImageTakedowns(live.store.database, live.store.blobs).block(digest(0))

    until(lambda: live.engine.stats.cache_entries == 0)


@pytest.mark.usefixtures("shown")
def test_a_block_that_was_interrupted_elsewhere_is_heeded_and_then_finished(
    live, client, candidate, digest
):
    candidates = [candidate("a", 10)]
    for user in ("ann", "bob"):
        client.rank(user, candidates)
    takedowns = ImageTakedowns(live.store.database, live.store.blobs)

    takedowns.record_block(digest(0))  # and its process is killed

    # The revisions are the same, so that memory would be used still.
    until(lambda: client.rank("bob", candidates).num_references == 1)
    assert client.rank("ann", candidates).personalization is Personalization.COLD_START
    assert list(client.list_choices("ann")) == []
    (listed,) = client.images.list_blocked()
    assert listed.is_unfinished
    assert takedowns.unfinished() == [digest(0)]

    long_ago = datetime.now(UTC) - INTERRUPTED_AFTER
    with live.store.database.writing() as session:
        session.get_one(BlockedImageRow, digest(0)).blocked_at = long_ago
    until(lambda: not takedowns.unfinished())
    (listed,) = client.images.list_blocked()
    assert not listed.is_unfinished
    assert client.get_user("ann").num_choices == 0


def test_memory_is_emptied_before_the_takedown_of_a_block(
    make_live, candidate, png, digest, monkeypatch
):
    live = make_live(watch_every_s=GIVE_UP_S * 10)
    live.load()
    take_down = ImageTakedowns.take_down
    num_entries = []

    def slowly(takedowns, name):
        with suppress(AssertionError):  # it would go to the caller, as an internal error
            until(lambda: live.engine.stats.cache_entries == 0, within_s=GIVE_UP_S / 4)
        num_entries.append(live.engine.stats.cache_entries)
        return take_down(takedowns, name)

    monkeypatch.setattr(ImageTakedowns, "take_down", slowly)
    with RecsysClient(live.address, timeout_s=GIVE_UP_S) as client:
        client.record_choice("ann", liked=png(0), passed_over=[png(255)])
        client.rank("ann", [candidate("a", 10)])
        assert live.engine.stats.cache_entries == 1
        assert client.images.block(digest(0)).num_choices == 1

    assert num_entries == [0]


@pytest.mark.usefixtures("shown")
def test_memory_is_looked_at_again_where_storage_did_not_answer(
    live, client, candidate, digest, monkeypatch
):
    client.rank("ann", [candidate("a", 10)])
    answers = iter([OSError("storage is away"), OSError("storage is away")])
    revisions_of = HistoryStore.revisions_of

    def unsteady(store, choice_ids):
        for error in answers:
            raise error
        return revisions_of(store, choice_ids)

    monkeypatch.setattr(HistoryStore, "revisions_of", unsteady)
    client.images.remove(digest(0))

    until(lambda: live.engine.stats.cache_entries == 0)


@pytest.mark.usefixtures("shown")
def test_a_blocked_image_is_kept_out_until_it_is_unblocked(client, candidate, png, digest):
    removed = client.images.block(digest(0), reason="a face")

    assert removed.num_choices == 1
    with pytest.raises(PreconditionFailed) as refused:
        client.record_choice("ann", liked=png(0))
    assert refused.value.reason == Reason.IMAGE_BLOCKED
    (ranked,) = client.rank("ann", [candidate("a", 0)]).candidates
    assert ranked.reason == Reason.IMAGE_BLOCKED
    assert client.images.block(digest(0), reason="again").num_choices == 0
    (listed,) = client.images.list_blocked()
    assert (listed.sha256, listed.blocked_by, listed.reason) == (digest(0), "rpc", "a face")
    assert listed.blocked_at.utcoffset().total_seconds() == 0
    assert client.images.unblock(digest(0)) == listed
    assert list(client.images.list_blocked()) == []
    client.record_choice("ann", liked=png(0))
    with pytest.raises(NotFound, match="not blocked") as refused:
        client.images.unblock(digest(0))
    assert refused.value.reason == Reason.IMAGE_NOT_BLOCKED


@pytest.mark.parametrize("page_size", [0, 1, 2, 5, 6, 2**31 - 1])
def test_pages_hold_each_image_once_in_order(client, digest, page_size):
    names = sorted(digest(shade) for shade in range(5))
    for name in names:
        client.images.block(name)

    assert [each.sha256 for each in client.images.list_blocked(page_size=page_size)] == names


def test_a_long_list_ends_its_page_when_it_gets_large(client, digest, monkeypatch):
    monkeypatch.setattr("recsys.service._pages.MAX_PAGE_BYTES", 1)
    names = sorted(digest(shade) for shade in range(3))
    for name in names:
        client.images.block(name, reason="r" * 1000)

    assert [each.sha256 for each in client.images.list_blocked()] == names


@pytest.mark.parametrize("sha256", ["", "ab", "../../etc/passwd"])
def test_what_is_no_digest_is_named(client, sha256):
    for call in (client.images.remove, client.images.block, client.images.unblock):
        with pytest.raises(InvalidRequest) as refused:
            call(sha256)
        assert (refused.value.field, refused.value.reason) == ("sha256", Reason.SHA256_INVALID)


def test_a_reason_has_a_limit(client, digest):
    with pytest.raises(InvalidRequest, match="1001") as refused:
        client.images.block(digest(0), reason="r" * 1001)
    assert refused.value.field == "reason"
    assert list(client.images.list_blocked()) == []
