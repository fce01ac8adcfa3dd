"""The engine, on a small fake scorer whose threads the tests hold and let go."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from recsys.engine import Scored, Scorer, ScoringEngine
from recsys.errors import DeadlinePassed, InvalidRequest, Overloaded, Unavailable
from recsys.waiting_line import WaitingLine

GIVE_UP_S = 60.0  # a wait that long means that the test has failed


@dataclass(frozen=True)
class FakePrefix:
    references: tuple[Any, ...]
    num_bytes: int = 10

    @property
    def num_references(self) -> int:
        return len(self.references)


@dataclass
class FakeScorer:
    """Scores a float target as itself; "broken" targets raise. Open, it runs; closed, it waits."""

    model_version: str = "fake"
    is_broken: bool = False
    prefixes: list[tuple[Any, ...]] = field(default_factory=list)
    passes: list[tuple[Any, ...]] = field(default_factory=list)
    num_probes: int = 0
    is_open: threading.Event = field(default_factory=threading.Event)
    is_entered: threading.Event = field(default_factory=threading.Event)
    after_pass: Callable[[], None] = lambda: None

    def prefix(self, references: Sequence[Any]) -> FakePrefix:
        if getattr(references[0] if references else None, "prompt", None) != "a probe":
            self.prefixes.append(tuple(references))
            self._wait_until_open()
        return FakePrefix(tuple(references))

    def score(self, prefix: Any, targets: Sequence[Any]) -> Tensor:
        if getattr(targets[0], "prompt", None) == "a probe":
            self.num_probes += 1
            targets = [0.5]
        else:
            self.passes.append(tuple(targets))
            self._wait_until_open()
            self.after_pass()
        if self.is_broken or "broken" in targets:
            raise RuntimeError("device lost")
        if "refused" in targets:
            raise InvalidRequest("not this one")
        if "short" in targets:
            return torch.zeros(len(targets) - 1)
        return torch.tensor(targets, dtype=torch.float64)

    def _wait_until_open(self) -> None:
        self.is_entered.set()
        assert self.is_open.wait(GIVE_UP_S)


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loader:
    """References of one user, counting how often they are loaded."""

    def __init__(self, *references: str) -> None:
        self.references = list(references)
        self.num_calls = 0

    def __call__(self) -> list[str]:
        self.num_calls += 1
        return self.references


Start = Callable[..., Awaitable[ScoringEngine]]


@pytest.fixture
def scorer() -> FakeScorer:
    scorer = FakeScorer()
    scorer.is_open.set()
    return scorer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(scorer: FakeScorer, clock: FakeClock) -> AsyncIterator[Callable[..., ScoringEngine]]:
    made: list[ScoringEngine] = []

    def make_engine(**changes: Any) -> ScoringEngine:
        options = {
            "max_queue": 8,
            "prefix_cache_bytes": 1000,
            "probe_every_s": 3600.0,
            "clock": clock,
        }
        made.append(ScoringEngine(scorer, **(options | changes)))
        return made[-1]

    yield make_engine
    scorer.is_open.set()
    for engine in made:
        await engine.drain(GIVE_UP_S)


@pytest.fixture
async def start(make: Callable[..., ScoringEngine]) -> Start:
    async def start_engine(**changes: Any) -> ScoringEngine:
        engine = make(**changes)
        await engine.start()
        return engine

    return start_engine


@pytest.fixture
async def engine(start: Start) -> ScoringEngine:
    return await start()


async def until(is_true: Callable[[], bool]) -> None:
    """Give way to the others until it is so."""
    async with asyncio.timeout(GIVE_UP_S):
        while not is_true():
            await asyncio.sleep(0)


async def entered(scorer: FakeScorer) -> None:
    assert await asyncio.to_thread(scorer.is_entered.wait, GIVE_UP_S)


def ask(
    engine: ScoringEngine,
    user: str,
    *targets: Any,
    references: Callable[[], Sequence[Any]] | None = None,
    revision: int = 1,
    **options: Any,
) -> "asyncio.Task[Scored]":
    return asyncio.create_task(
        engine.score(user, revision, references or Loader("r"), list(targets), **options)
    )


async def hold(engine: ScoringEngine, scorer: FakeScorer) -> "asyncio.Task[Scored]":
    """Send a request and leave the model standing in it, with nobody waiting."""
    scorer.is_open.clear()
    scorer.is_entered.clear()
    holder = ask(engine, "holder", 0.5)
    await entered(scorer)
    return holder


# Scores


async def test_each_target_gets_its_score_in_order(engine: ScoringEngine) -> None:
    scored = await engine.score("ann", 1, Loader("a", "b"), [0.25, 0.75, 0.5])
    assert scored == Scored((0.25, 0.75, 0.5), num_references=2)
    stats = engine.stats
    assert (stats.num_requests, stats.num_scored, stats.queue_length) == (1, 3, 0)


async def test_no_targets_are_refused(engine: ScoringEngine) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        await engine.score("ann", 1, Loader(), [])


async def test_a_pass_holds_the_targets_of_one_request_alone(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    holder = await hold(engine, scorer)
    tasks = [ask(engine, user, *targets) for user, targets in
             [("ann", (0.1, 0.2)), ("bob", (0.3,)), ("ann", (0.4,))]]  # fmt: skip
    await until(lambda: engine.stats.queue_length == 3)
    scorer.is_open.set()
    scores = [(await task).scores for task in tasks]
    assert scores == [(0.1, 0.2), (0.3,), (0.4,)]
    assert sorted(scorer.passes[1:]) == [(0.1, 0.2), (0.3,), (0.4,)]
    await holder


@pytest.mark.parametrize(
    "targets", [(float("nan"),), (0.5, float("inf")), ("short", "short")], ids=str
)
async def test_scores_that_are_none_are_an_error(
    engine: ScoringEngine, targets: tuple[Any, ...]
) -> None:
    with pytest.raises(ArithmeticError, match="finite scores"):
        await engine.score("ann", 1, Loader(), list(targets))
    assert engine.stats.num_model_failures == 1


# The prefix cache


async def test_a_warm_user_s_references_are_not_loaded_again(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    loader = Loader("a", "b")
    for _ in range(3):
        assert (await engine.score("ann", 1, loader, [0.5])).num_references == 2
    assert loader.num_calls == 1
    assert scorer.prefixes == [("a", "b")]
    stats = engine.stats
    assert (stats.cache_hits, stats.cache_misses) == (2, 1)
    assert (stats.cache_entries, stats.cache_bytes) == (1, 10)


async def test_a_new_revision_and_another_user_are_cold(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    for user, revision in [("ann", 1), ("ann", 2), ("bob", 2)]:
        await engine.score(user, revision, Loader(f"{user}{revision}"), [0.5])
    assert scorer.prefixes == [("ann1",), ("ann2",), ("bob2",)]


@pytest.mark.parametrize("cache_bytes", [0, 1000])
async def test_waiting_requests_of_one_user_share_loading_and_prefix(
    start: Start, scorer: FakeScorer, cache_bytes: int
) -> None:
    engine = await start(prefix_cache_bytes=cache_bytes)
    holder = await hold(engine, scorer)
    loaders = [Loader("a") for _ in range(3)]
    tasks = [ask(engine, "ann", 0.5, references=loader) for loader in loaders]
    await until(lambda: engine.stats.queue_length == 3)
    scorer.is_open.set()
    await asyncio.gather(holder, *tasks)
    assert [loader.num_calls for loader in loaders] == [1, 0, 0]
    assert scorer.prefixes == [("r",), ("a",)]


async def test_a_request_that_comes_while_its_prefix_is_computed_loads_nothing(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    first = await hold(engine, scorer)
    loader = Loader("again")
    second = ask(engine, "holder", 0.5, references=loader)
    await until(lambda: engine.stats.queue_length == 1)
    scorer.is_open.set()
    await asyncio.gather(first, second)
    assert loader.num_calls == 0


async def test_the_least_recently_used_user_makes_room(start: Start) -> None:
    engine = await start(prefix_cache_bytes=25)
    for user in ("ann", "bob", "cat"):
        await engine.score(user, 1, Loader("r"), [0.5])
    assert (engine.stats.cache_evictions, engine.stats.cache_bytes) == (1, 20)
    again = Loader("r")
    await engine.score("ann", 1, again, [0.5])
    assert again.num_calls == 1


async def test_a_user_evicted_while_waiting_is_loaded_then(
    start: Start, scorer: FakeScorer
) -> None:
    engine = await start(prefix_cache_bytes=10)
    await engine.score("ann", 1, Loader("a"), [0.5])
    holder = await hold(engine, scorer)
    again = Loader("a")
    task = ask(engine, "ann", 0.25, references=again)  # still warm, so nothing loads
    await until(lambda: engine.stats.queue_length == 1)
    assert again.num_calls == 0
    scorer.is_open.set()  # the holder's prefix takes ann's place
    await holder
    assert (await task).scores == (0.25,)
    assert again.num_calls == 1


async def test_a_prefix_with_references_missing_is_used_but_not_kept(
    engine: ScoringEngine,
) -> None:
    poor = await engine.score("ann", 1, Loader("a"), [0.5], num_references=2)
    assert (poor.num_references, engine.stats.cache_entries) == (1, 0)
    full = await engine.score("ann", 1, Loader("a", "b"), [0.5], num_references=2)
    assert (full.num_references, engine.stats.cache_entries) == (2, 1)


async def test_references_that_fail_to_load_fail_their_requests_alone(
    engine: ScoringEngine,
) -> None:
    def fail() -> list[Any]:
        raise OSError("disk gone")

    failing, fine = ask(engine, "ann", 0.5, references=fail), ask(engine, "bob", 0.5)
    with pytest.raises(OSError, match="disk gone"):
        await failing
    assert (await fine).scores == (0.5,)
    assert engine.ready
    assert engine.stats.num_model_failures == 0


async def test_loading_holds_up_nobody_else(engine: ScoringEngine, scorer: FakeScorer) -> None:
    await engine.score("warm", 1, Loader(), [0.5])
    may_load = threading.Event()

    def load_slowly() -> list[str]:
        assert may_load.wait(GIVE_UP_S)
        return ["slow"]

    slow = ask(engine, "slow", 0.25, references=load_slowly)
    await until(lambda: engine.stats.queue_length == 1)
    assert (await engine.score("warm", 1, Loader(), [0.75])).scores == (0.75,)
    assert not slow.done()
    may_load.set()
    assert (await slow).scores == (0.25,)


# Erasure


async def test_a_forgotten_user_is_read_anew(engine: ScoringEngine, scorer: FakeScorer) -> None:
    await engine.score("ann", 1, Loader("old"), [0.5])
    engine.forget("ann")
    assert engine.stats.cache_bytes == 0
    await engine.score("ann", 1, Loader("new"), [0.5])
    assert scorer.prefixes == [("old",), ("new",)]


async def test_a_prefix_in_the_making_is_not_kept_when_its_user_is_erased(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    in_flight = await hold(engine, scorer)
    engine.forget("holder")
    scorer.is_open.set()
    await in_flight
    assert engine.stats.cache_entries == 0


async def test_a_history_read_before_the_erasure_is_not_kept(engine: ScoringEngine) -> None:
    since = engine.num_forgotten
    engine.forget("ann")
    await engine.score("ann", 1, Loader("old"), [0.5], since=since)
    assert engine.stats.cache_entries == 0


async def test_requests_from_before_and_after_an_erasure_share_nothing(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    holder = await hold(engine, scorer)
    before = ask(engine, "ann", 0.5, references=Loader("old"))
    await until(lambda: engine.stats.queue_length == 1)
    engine.forget("ann")
    after = ask(engine, "ann", 0.5, references=Loader("new"))
    await until(lambda: engine.stats.queue_length == 2)
    scorer.is_open.set()
    await asyncio.gather(holder, before, after)
    assert sorted(scorer.prefixes[1:]) == [("new",), ("old",)]
    await engine.score("ann", 1, Loader("never"), [0.5])
    assert ("never",) not in scorer.prefixes  # what came after the erasure was kept


# Deadlines and cancelling


async def test_a_cancelled_request_is_never_scored(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    holder = await hold(engine, scorer)
    gone, stays = ask(engine, "ann", 0.1), ask(engine, "ann", 0.2)
    await until(lambda: engine.stats.queue_length == 2)
    gone.cancel()
    await until(gone.done)
    assert engine.stats.queue_length == 1
    scorer.is_open.set()
    await asyncio.gather(holder, stays)
    assert scorer.passes == [(0.5,), (0.2,)]
    assert engine.stats.num_cancelled == 1


async def test_a_request_cancelled_while_the_model_works_on_its_group_is_not_scored(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    gone = await hold(engine, scorer)  # the model stands in its prefix
    gone.cancel()
    await until(gone.done)
    scorer.is_open.set()
    await engine.score("bob", 1, Loader("b"), [0.25])
    assert scorer.passes == [(0.25,)]


async def test_a_request_whose_time_is_over_when_its_turn_comes_is_never_scored(
    engine: ScoringEngine, scorer: FakeScorer, clock: FakeClock
) -> None:
    holder = await hold(engine, scorer)
    late = ask(engine, "ann", 0.1, deadline=clock.now + 3600)
    await until(lambda: engine.stats.queue_length == 1)
    clock.now += 3600
    scorer.is_open.set()
    with pytest.raises(DeadlinePassed):
        await late
    await holder
    assert scorer.passes == [(0.5,)]
    assert engine.stats.num_expired == 1


async def test_a_caller_whose_deadline_passes_does_not_wait_for_the_model(
    engine: ScoringEngine, scorer: FakeScorer, clock: FakeClock
) -> None:
    holder = await hold(engine, scorer)
    with pytest.raises(DeadlinePassed):
        await engine.score("ann", 1, Loader(), [0.5], deadline=clock.now + 0.01)
    assert not holder.done()
    assert engine.stats.queue_length == 0


async def test_a_deadline_already_over_loads_nothing(
    engine: ScoringEngine, clock: FakeClock
) -> None:
    loader = Loader()
    with pytest.raises(DeadlinePassed):
        await engine.score("ann", 1, loader, [0.5], deadline=clock.now)
    assert loader.num_calls == 0


# Overload


async def test_a_full_queue_refuses_and_takes_again(start: Start, scorer: FakeScorer) -> None:
    engine = await start(max_queue=2)
    holder = await hold(engine, scorer)
    waiting = [ask(engine, "ann", 0.5), ask(engine, "bob", 0.5)]
    await until(lambda: engine.stats.queue_length == 2)
    with pytest.raises(Overloaded, match="at most 2 requests") as refused:
        await engine.score("cat", 1, Loader(), [0.5])
    assert refused.value.retry_after_s > 0
    assert engine.stats.num_overloaded == 1
    scorer.is_open.set()
    await asyncio.gather(holder, *waiting)
    assert (await engine.score("cat", 1, Loader(), [0.5])).scores == (0.5,)


async def test_a_wait_longer_than_the_time_left_is_told_at_once(
    engine: ScoringEngine, scorer: FakeScorer, clock: FakeClock
) -> None:
    def take_ten_seconds() -> None:
        clock.now += 10

    scorer.after_pass = take_ten_seconds
    await engine.score("ann", 1, Loader(), [0.5])
    assert engine.stats.mean_service_s == 10
    holder = await hold(engine, scorer)
    waiting = ask(engine, "ann", 0.5)
    await until(lambda: engine.stats.queue_length == 1)
    with pytest.raises(Overloaded) as refused:  # two before it, ten seconds each
        await engine.score("bob", 1, Loader(), [0.5], deadline=clock.now + 15)
    assert refused.value.retry_after_s == pytest.approx(5)
    patient = ask(engine, "bob", 0.5, deadline=clock.now + 1000)
    scorer.is_open.set()
    await asyncio.gather(holder, waiting, patient)


async def test_the_mean_service_time_follows_the_newest(
    engine: ScoringEngine, scorer: FakeScorer, clock: FakeClock
) -> None:
    step_s = 10.0

    def take_time() -> None:
        clock.now += step_s

    scorer.after_pass = take_time
    await engine.score("ann", 1, Loader(), [0.5])
    step_s = 20.0
    await engine.score("ann", 1, Loader(), [0.5])
    assert engine.stats.mean_service_s == pytest.approx(0.8 * 10 + 0.2 * 20)


@pytest.mark.parametrize("options", [{"max_queue": 0}, {"max_failures": 0}])
async def test_counts_too_small_are_refused(
    make: Callable[..., ScoringEngine], options: dict[str, int]
) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        make(**options)


# A model that fails


async def test_a_failure_fails_its_request_alone(engine: ScoringEngine, scorer: FakeScorer) -> None:
    holder = await hold(engine, scorer)
    bad, good = ask(engine, "ann", "broken"), ask(engine, "ann", 0.5)
    await until(lambda: engine.stats.queue_length == 2)
    scorer.is_open.set()
    with pytest.raises(RuntimeError, match="device lost"):
        await bad
    assert (await good).scores == (0.5,)
    await holder
    assert engine.ready
    assert (engine.stats.num_failed, engine.stats.num_model_failures) == (1, 1)


async def fail_three_times(engine: ScoringEngine, target: Any = 0.5) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError, match="device lost"):
            await engine.score("ann", 1, Loader(), [target])


async def test_a_dead_device_makes_it_unready_until_a_probe_succeeds(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    scorer.is_broken = True
    await fail_three_times(engine)
    assert not engine.ready
    with pytest.raises(Unavailable):
        await engine.score("ann", 1, Loader(), [0.5])
    with pytest.raises(RuntimeError, match="device lost"):
        await engine.probe()
    assert not engine.ready
    scorer.is_broken = False
    await engine.probe()
    assert engine.ready
    assert (await engine.score("ann", 1, Loader(), [0.5])).scores == (0.5,)


async def test_who_waits_for_a_dead_device_is_told(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    await engine.score("ann", 1, Loader(), [0.5])
    holder = await hold(engine, scorer)
    scorer.is_broken = True
    failing = [ask(engine, "ann", 0.5) for _ in range(3)]  # warm, so ready before bob and cat
    await until(lambda: engine.stats.queue_length == 3)
    waiting = [ask(engine, user, 0.5) for user in ("bob", "cat")]
    await until(lambda: engine.stats.queue_length == 5)
    scorer.is_open.set()
    answers = await asyncio.gather(holder, *failing, *waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [RuntimeError] * 4 + [Unavailable] * 2


async def test_poisonous_requests_do_not_make_a_sound_model_unready(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    await fail_three_times(engine, "broken")
    await until(lambda: scorer.num_probes == 2)  # one at the start, one after the third failure
    await until(lambda: engine.ready)
    assert (await engine.score("ann", 1, Loader(), [0.5])).scores == (0.5,)


async def test_requests_the_model_refuses_on_purpose_are_no_failures(
    engine: ScoringEngine,
) -> None:
    for _ in range(4):
        with pytest.raises(InvalidRequest):
            await engine.score("ann", 1, Loader(), ["refused"])
    assert engine.ready
    assert engine.stats.num_model_failures == 0


async def test_a_device_that_dies_and_revives_while_idle_is_noticed(
    start: Start, scorer: FakeScorer
) -> None:
    engine = await start(probe_every_s=0.001)
    scorer.is_broken = True
    await until(lambda: not engine.ready)
    scorer.is_broken = False
    await until(lambda: engine.ready)


async def test_a_call_that_hangs_makes_it_unready_while_it_hangs(
    start: Start, scorer: FakeScorer, clock: FakeClock
) -> None:
    engine = await start(stalled_after_s=30.0)
    hanging = await hold(engine, scorer)
    assert engine.ready
    clock.now += 31
    assert not engine.ready
    scorer.is_open.set()
    await hanging
    assert engine.ready


async def test_a_dead_loop_makes_it_unready_and_tells_who_waits(
    engine: ScoringEngine, scorer: FakeScorer, monkeypatch: pytest.MonkeyPatch
) -> None:
    holder = await hold(engine, scorer)
    waiting = ask(engine, "ann", 0.5)
    await until(lambda: engine.stats.queue_length == 1)

    def die(line: WaitingLine) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(WaitingLine, "take_ready", die)
    scorer.is_open.set()
    with pytest.raises(Unavailable):
        await waiting
    await holder
    assert not engine.ready
    with pytest.raises(Unavailable):
        await engine.score("ann", 1, Loader(), [0.5])


# Start and drain


async def test_it_is_ready_only_after_a_real_forward_pass(
    make: Callable[..., ScoringEngine], scorer: FakeScorer
) -> None:
    engine = make()
    assert not engine.ready
    with pytest.raises(Unavailable):
        await engine.score("ann", 1, Loader(), [0.5])
    scorer.is_broken = True
    with pytest.raises(RuntimeError, match="device lost"):
        await engine.start()
    assert not engine.ready
    scorer.is_broken = False
    await engine.start()
    assert engine.ready
    assert scorer.num_probes == 2


async def test_it_starts_once(engine: ScoringEngine) -> None:
    with pytest.raises(RuntimeError, match="started once"):
        await engine.start()


async def test_draining_answers_who_waits_and_takes_nobody_else(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    holder = await hold(engine, scorer)
    waiting = ask(engine, "ann", 0.25)
    await until(lambda: engine.stats.queue_length == 1)
    draining = asyncio.create_task(engine.drain(GIVE_UP_S))
    await until(lambda: not engine.ready)
    with pytest.raises(Unavailable):
        await engine.score("bob", 1, Loader(), [0.5])
    scorer.is_open.set()
    await draining
    assert [(await task).scores for task in (holder, waiting)] == [(0.5,), (0.25,)]


async def test_draining_fails_who_is_not_answered_in_time(
    engine: ScoringEngine, scorer: FakeScorer
) -> None:
    holder = await hold(engine, scorer)
    waiting = ask(engine, "ann", 0.25)
    await until(lambda: engine.stats.queue_length == 1)
    await engine.drain(0.01)
    for task in (holder, waiting):
        with pytest.raises(Unavailable):
            await task


async def test_draining_twice_or_unstarted_is_fine(make: Callable[..., ScoringEngine]) -> None:
    engine = make()
    await engine.drain(0.0)
    await engine.drain(0.0)
    with pytest.raises(RuntimeError):
        await engine.start()


def test_the_fake_is_what_the_engine_takes() -> None:
    assert isinstance(FakeScorer(), Scorer)


def test_importing_the_engine_loads_no_model_library() -> None:
    code = "import sys, recsys.engine; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
