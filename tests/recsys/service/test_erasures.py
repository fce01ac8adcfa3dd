"""What memory holds of users whom another process has erased."""

import time

import pytest

from storage.database import Database
from storage.histories import HistoryStore
from storage.tombstones import erasure_mark

GIVE_UP_S = 60.0


@pytest.fixture
def elsewhere(live):
    """The same storage, as another process has it open."""
    url = live.store.database.url.render_as_string(hide_password=False)
    database = Database(url)
    yield HistoryStore(database, live.store.blobs, live.store.keys)
    database.dispose()


def until(condition) -> None:
    end = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def num_kept(live) -> int:
    return live.engine.stats.cache_entries


def test_the_prefix_of_a_user_erased_elsewhere_is_dropped(
    live, client, candidate, png, elsewhere
) -> None:
    candidates = [candidate("dark", 10), candidate("bright", 200)]
    for user in ("ann", "bob"):
        client.record_choice(user, liked=png(0), passed_over=[png(255)])
        client.rank(user, candidates)
    client.rank("nobody", candidates)
    assert num_kept(live) == 3

    elsewhere.erase("ann", by="a test")
    until(lambda: num_kept(live) == 2)
    hits = live.engine.stats.cache_hits
    client.rank("bob", candidates)
    client.rank("nobody", candidates)
    assert live.engine.stats.cache_hits == hits + 2


def test_who_is_erased_and_let_back_between_two_looks_is_dropped_all_the_same(
    live, client, candidate, png, elsewhere, monkeypatch
) -> None:
    for user in ("ann", "bob"):
        client.record_choice(user, liked=png(0), passed_over=[png(255)])
        client.rank(user, [candidate("a", 10)])
    mark = erasure_mark(live.store.database)

    with monkeypatch.context() as patch:
        # No check reads the mark in between.
        patch.setattr("recsys.service.erasures.erasure_mark", lambda _: mark)
        elsewhere.erase("ann", by="a test")
        elsewhere.restore("ann")
    assert erasure_mark(live.store.database) == mark

    monkeypatch.setattr("recsys.service.erasures.LOOK_EVERY_S", 0.1)
    until(lambda: num_kept(live) == 1)


def test_what_was_being_computed_meanwhile_is_not_kept(live, elsewhere, client, png) -> None:
    client.record_choice("ann", liked=png(0), passed_over=[png(255)])
    before = live.engine.num_forgotten
    elsewhere.erase("ann", by="a test")
    until(lambda: live.engine.num_forgotten > before)


def test_nothing_is_dropped_while_nobody_is_erased(live, client, candidate, png) -> None:
    client.record_choice("ann", liked=png(0), passed_over=[png(255)])
    client.rank("ann", [candidate("a", 1)])
    time.sleep(0.2)  # twenty looks
    assert (live.engine.num_forgotten, num_kept(live)) == (0, 1)
