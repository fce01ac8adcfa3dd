"""Who is scored, with whose references, and who no longer is."""

import asyncio
import threading
from typing import Any

import pytest

from recsys.engine.engine import ScoringEngine
from recsys.errors import DeadlinePassed

# The prefix cache


async def test_a_warm_user_s_references_are_not_loaded_again(
    engine: ScoringEngine, scorer, desk
) -> None:
    loader = desk.loader("a", "b")
    for _ in range(3):
        assert (await engine.score("ann", 1, loader, [0.5])).num_references == 2
    assert loader.num_calls == 1
    assert scorer.prefixes == [("a", "b")]
    stats = engine.stats
    assert (stats.cache_hits, stats.cache_misses) == (2, 1)
    assert (stats.cache_entries, stats.cache_bytes) == (1, 10)


async def test_a_new_revision_and_another_user_are_cold(
    engine: ScoringEngine, scorer, desk
) -> None:
    for user, revision in [("ann", 1), ("ann", 2), ("bob", 2)]:
        await engine.score(user, revision, desk.loader(f"{user}{revision}"), [0.5])
    assert scorer.prefixes == [("ann1",), ("ann2",), ("bob2",)]


@pytest.mark.parametrize("cache_bytes", [0, 1000])
async def test_waiting_requests_of_one_user_share_loading_and_prefix(
    start, scorer, cache_bytes: int, desk
) -> None:
    engine = await start(prefix_cache_bytes=cache_bytes)
    holder = await desk.hold(engine)
    loaders = [desk.loader("a") for _ in range(3)]
    tasks = [desk.ask(engine, "ann", 0.5, references=loader) for loader in loaders]
    await desk.until(lambda: engine.stats.queue_length == 3)
    scorer.is_open.set()
    await asyncio.gather(holder, *tasks)
    assert [loader.num_calls for loader in loaders] == [1, 0, 0]
    assert scorer.prefixes == [("r",), ("a",)]


async def test_a_request_that_comes_while_its_prefix_is_computed_loads_nothing(
    engine: ScoringEngine, scorer, desk
) -> None:
    first = await desk.hold(engine)
    loader = desk.loader("again")
    second = desk.ask(engine, "holder", 0.5, references=loader)
    await desk.until(lambda: engine.stats.queue_length == 1)
    scorer.is_open.set()
    await asyncio.gather(first, second)
    assert loader.num_calls == 0


async def test_the_least_recently_used_user_makes_room(start, desk) -> None:
    engine = await start(prefix_cache_bytes=25)
    for user in ("ann", "bob", "cat"):
        await engine.score(user, 1, desk.loader("r"), [0.5])
    assert (engine.stats.cache_evictions, engine.stats.cache_bytes) == (1, 20)
    again = desk.loader("r")
    await engine.score("ann", 1, again, [0.5])
    assert again.num_calls == 1


async def test_a_user_evicted_while_waiting_is_loaded_then(start, scorer, desk) -> None:
    engine = await start(prefix_cache_bytes=10)
    await engine.score("ann", 1, desk.loader("a"), [0.5])
    holder = await desk.hold(engine)
    again = desk.loader("a")
    task = desk.ask(engine, "ann", 0.25, references=again)  # still warm, so nothing loads
    await desk.until(lambda: engine.stats.queue_length == 1)
    assert again.num_calls == 0
    scorer.is_open.set()  # the holder's prefix takes ann's place
    await holder
    assert (await task).scores == (0.25,)
    assert again.num_calls == 1


async def test_a_prefix_with_references_missing_is_used_but_not_kept(
    engine: ScoringEngine, desk
) -> None:
    poor = await engine.score("ann", 1, desk.loader("a", num_unreadable=1), [0.5])
    assert (poor.num_references, engine.stats.cache_entries) == (1, 0)
    full = await engine.score("ann", 1, desk.loader("a", "b"), [0.5])
    assert (full.num_references, engine.stats.cache_entries) == (2, 1)


async def test_references_that_fail_to_load_fail_their_requests_alone(
    engine: ScoringEngine, desk
) -> None:
    def fail() -> list[Any]:
        raise OSError("disk gone")

    unlucky = desk.loader(read=fail)
    failing, fine = desk.ask(engine, "ann", 0.5, references=unlucky), desk.ask(engine, "bob", 0.5)
    with pytest.raises(OSError, match="disk gone"):
        await failing
    assert (await fine).scores == (0.5,)
    assert engine.ready
    assert engine.stats.num_model_failures == 0


async def test_loading_holds_up_nobody_else(engine: ScoringEngine, scorer, desk) -> None:
    await engine.score("warm", 1, desk.loader(), [0.5])
    may_load = threading.Event()

    def load_slowly() -> list[str]:
        assert may_load.wait(desk.give_up_s)
        return ["slow"]

    slow = desk.ask(engine, "slow", 0.25, references=desk.loader(read=load_slowly))
    await desk.until(lambda: engine.stats.queue_length == 1)
    assert (await engine.score("warm", 1, desk.loader(), [0.75])).scores == (0.75,)
    assert not slow.done()
    may_load.set()
    assert (await slow).scores == (0.25,)


async def test_at_most_so_many_cold_users_load_at_once(start, desk) -> None:
    engine = await start(num_loaders=2)
    may_load, lock, loading = threading.Event(), threading.Lock(), []

    def load_slowly() -> list[str]:
        with lock:
            loading.append(None)
        assert may_load.wait(desk.give_up_s)
        return ["slow"]

    users = ("ann", "bob", "cat")
    loaders = [desk.loader(read=load_slowly) for _ in users]
    tasks = [
        desk.ask(engine, user, 0.5, references=each)
        for user, each in zip(users, loaders, strict=True)
    ]
    await desk.until(lambda: len(loading) == 2)
    await asyncio.sleep(0.05)
    assert [each.num_calls for each in loaders] == [1, 1, 0]
    may_load.set()
    await asyncio.gather(*tasks)
    assert [each.num_calls for each in loaders] == [1, 1, 1]


async def test_references_that_nobody_waits_for_any_more_are_not_loaded(start, desk) -> None:
    engine = await start(num_loaders=1)
    may_load, is_loading = threading.Event(), threading.Event()

    def load_slowly() -> list[str]:
        is_loading.set()
        assert may_load.wait(desk.give_up_s)
        return ["slow"]

    first = desk.ask(engine, "ann", 0.5, references=desk.loader(read=load_slowly))
    assert await asyncio.to_thread(is_loading.wait, desk.give_up_s)
    abandoned = desk.loader("b")
    gone = desk.ask(engine, "bob", 0.5, references=abandoned)
    await desk.until(lambda: engine.stats.queue_length == 2)
    gone.cancel()
    await desk.until(gone.done)
    may_load.set()
    assert (await first).scores == (0.5,)
    assert (await desk.ask(engine, "cat", 0.25)).scores == (0.25,)
    assert abandoned.num_calls == 0


# Erasure


async def test_a_forgotten_user_is_read_anew(engine: ScoringEngine, scorer, desk) -> None:
    await engine.score("ann", 1, desk.loader("old"), [0.5])
    engine.forget("ann")
    assert engine.stats.cache_bytes == 0
    await engine.score("ann", 1, desk.loader("new"), [0.5])
    assert scorer.prefixes == [("old",), ("new",)]


async def test_a_prefix_in_the_making_is_not_kept_when_its_user_is_erased(
    engine: ScoringEngine, scorer, desk
) -> None:
    in_flight = await desk.hold(engine)
    engine.forget("holder")
    scorer.is_open.set()
    await in_flight
    assert engine.stats.cache_entries == 0


async def test_a_history_read_before_the_erasure_is_not_kept(engine: ScoringEngine, desk) -> None:
    since = engine.num_forgotten
    engine.forget("ann")
    await engine.score("ann", 1, desk.loader("old"), [0.5], since=since)
    assert engine.stats.cache_entries == 0


async def test_requests_from_before_and_after_an_erasure_share_nothing(
    engine: ScoringEngine, scorer, desk
) -> None:
    holder = await desk.hold(engine)
    before = desk.ask(engine, "ann", 0.5, references=desk.loader("old"))
    await desk.until(lambda: engine.stats.queue_length == 1)
    engine.forget("ann")
    after = desk.ask(engine, "ann", 0.5, references=desk.loader("new"))
    await desk.until(lambda: engine.stats.queue_length == 2)
    scorer.is_open.set()
    await asyncio.gather(holder, before, after)
    assert sorted(scorer.prefixes[1:]) == [("new",), ("old",)]
    await engine.score("ann", 1, desk.loader("never"), [0.5])
    assert ("never",) not in scorer.prefixes  # what came after the erasure was kept


# Deadlines and cancelling


async def test_a_cancelled_request_is_never_scored(engine: ScoringEngine, scorer, desk) -> None:
    holder = await desk.hold(engine)
    gone, stays = desk.ask(engine, "ann", 0.1), desk.ask(engine, "ann", 0.2)
    await desk.until(lambda: engine.stats.queue_length == 2)
    gone.cancel()
    await desk.until(gone.done)
    assert engine.stats.queue_length == 1
    scorer.is_open.set()
    await asyncio.gather(holder, stays)
    assert scorer.passes == [(0.5,), (0.2,)]
    assert engine.stats.num_cancelled == 1


async def test_a_request_cancelled_while_the_model_works_on_its_group_is_not_scored(
    engine: ScoringEngine, scorer, desk
) -> None:
    gone = await desk.hold(engine)  # the model stands in its prefix
    gone.cancel()
    await desk.until(gone.done)
    scorer.is_open.set()
    await engine.score("bob", 1, desk.loader("b"), [0.25])
    assert scorer.passes == [(0.25,)]


async def test_a_request_whose_time_is_over_when_its_turn_comes_is_never_scored(
    engine: ScoringEngine, scorer, clock, desk
) -> None:
    holder = await desk.hold(engine)
    late = desk.ask(engine, "ann", 0.1, deadline=clock.now + 3600)
    await desk.until(lambda: engine.stats.queue_length == 1)
    clock.now += 3600
    scorer.is_open.set()
    with pytest.raises(DeadlinePassed):
        await late
    await holder
    assert scorer.passes == [(0.5,)]
    assert engine.stats.num_expired == 1


async def test_a_caller_whose_deadline_passes_does_not_wait_for_the_model(
    engine: ScoringEngine, scorer, clock, desk
) -> None:
    holder = await desk.hold(engine)
    with pytest.raises(DeadlinePassed):
        await engine.score("ann", 1, desk.loader(), [0.5], deadline=clock.now + 0.01)
    assert not holder.done()
    assert engine.stats.queue_length == 0


async def test_a_deadline_already_over_loads_nothing(engine: ScoringEngine, clock, desk) -> None:
    loader = desk.loader()
    with pytest.raises(DeadlinePassed):
        await engine.score("ann", 1, loader, [0.5], deadline=clock.now)
    assert loader.num_calls == 0
