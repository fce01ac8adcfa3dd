"""The prefix cache: bounded in bytes, one revision a user, erasure is final."""

from collections import OrderedDict
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.engine.caches import PrefixCache, PrefixKey


@dataclass(frozen=True)
class Sized:
    num_bytes: int


def key(user: str, revision: int = 1, model: str = "m1") -> PrefixKey:
    return PrefixKey(user, revision, model)


def keep(cache: PrefixCache, at: PrefixKey, num_bytes: int = 10) -> Sized:
    prefix = Sized(num_bytes)
    assert cache.put(at, prefix, since=cache.num_forgotten)
    return prefix


def test_what_was_put_is_got_and_counted() -> None:
    cache = PrefixCache(100)
    assert cache.get(key("ann")) is None
    prefix = keep(cache, key("ann"))
    assert cache.get(key("ann")) is prefix
    stats = cache.stats()
    assert (stats.num_hits, stats.num_misses) == (1, 1)
    assert (stats.num_entries, stats.num_bytes) == (1, 10)


@pytest.mark.parametrize("other", [key("bob"), key("ann", 2), key("ann", 1, "m2")])
def test_another_user_revision_or_model_misses(other: PrefixKey) -> None:
    cache = PrefixCache(100)
    keep(cache, key("ann"))
    assert other not in cache
    assert cache.get(other) is None


def test_a_new_revision_takes_the_place_of_the_old_one() -> None:
    cache = PrefixCache(100)
    keep(cache, key("ann", 1), 40)
    new = keep(cache, key("ann", 2), 30)
    assert cache.get(key("ann", 1)) is None
    assert cache.get(key("ann", 2)) is new
    assert cache.stats().num_bytes == 30
    assert cache.stats().num_evictions == 0


def test_the_least_recently_used_makes_room() -> None:
    cache = PrefixCache(30)
    for user in ("ann", "bob", "cat"):
        keep(cache, key(user))
    cache.get(key("ann"))
    keep(cache, key("dan"), 20)
    assert [user for user in ("ann", "bob", "cat", "dan") if key(user) in cache] == ["ann", "dan"]
    assert cache.stats().num_evictions == 2
    assert cache.stats().num_bytes == 30


def test_a_prefix_larger_than_the_cache_evicts_nobody() -> None:
    cache = PrefixCache(30)
    keep(cache, key("ann"), 30)
    assert not cache.put(key("bob"), Sized(31), since=cache.num_forgotten)
    assert key("ann") in cache
    assert cache.stats().num_too_large == 1


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = PrefixCache(0)
    assert not cache.put(key("ann"), Sized(1), since=0)
    assert cache.stats().num_entries == 0


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 0, got -1"):
        PrefixCache(-1)


def test_forget_removes_every_model_s_entry_of_the_user_alone() -> None:
    cache = PrefixCache(100)
    for at in (key("ann"), key("ann", 1, "m2"), key("bob")):
        keep(cache, at)
    assert cache.forget("ann") == 2
    assert key("ann") not in cache
    assert key("bob") in cache
    assert cache.stats().num_bytes == 10
    assert cache.forget("ann") == 0


def test_what_was_begun_before_an_erasure_is_not_kept_after_it() -> None:
    cache = PrefixCache(100)
    since = cache.num_forgotten
    cache.forget("ann")
    assert not cache.put(key("ann"), Sized(10), since=since)
    assert key("ann") not in cache
    keep(cache, key("ann"))  # and what is begun after it is


@given(
    st.integers(0, 40),
    st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(1, 3), st.integers(0, 20))),
)
def test_it_keeps_what_a_naive_lru_keeps(max_bytes: int, puts: list[tuple[str, int, int]]) -> None:
    cache = PrefixCache(max_bytes)
    naive: OrderedDict[str, tuple[int, int]] = OrderedDict()
    for user, revision, num_bytes in puts:
        cache.put(key(user, revision), Sized(num_bytes), since=0)
        naive.pop(user, None)
        if num_bytes <= max_bytes:
            naive[user] = (revision, num_bytes)
            while sum(size for _, size in naive.values()) > max_bytes:
                naive.popitem(last=False)
        assert cache.stats().num_bytes == sum(size for _, size in naive.values()) <= max_bytes
    # Read newest first, as asking refreshes.
    kept = {user: (key(user, revision) in cache) for user, (revision, _) in naive.items()}
    assert all(kept.values())
    assert cache.stats().num_entries == len(naive)


def test_histories_that_are_gone_are_forgotten_and_the_others_keep_their_turn() -> None:
    cache = PrefixCache(30)
    keys = [key(user, number) for number, user in enumerate(("ann", "bob", "cat"))]
    for each in keys:
        keep(cache, each)
    cache.get(keys[0])
    before = cache.num_forgotten
    assert cache.forget_gone(lambda revisions: sorted(revisions - {1})) == 1
    assert cache.num_forgotten == before + 1
    assert not cache.put(key("dan"), Sized(10), since=before)
    keep(cache, key("eve"), 20)
    assert [each.user_key for each in keys if each in cache] == ["ann"]


def test_where_storage_fails_nothing_is_forgotten_but_what_is_being_computed() -> None:
    cache = PrefixCache(30)
    keep(cache, key("ann"))
    before = cache.num_forgotten

    def failing(revisions: object) -> list[int]:
        raise OSError("storage does not answer")

    with pytest.raises(OSError, match="does not answer"):
        cache.forget_gone(failing)
    assert key("ann") in cache
    assert cache.num_forgotten == before + 1
