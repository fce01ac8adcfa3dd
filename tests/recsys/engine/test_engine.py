"""The engine: scores, the queue, its start and its end."""

import asyncio
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from torch import Tensor

from recsys.engine.engine import ScoringEngine
from recsys.engine.queue import Scored
from recsys.engine.worker import Scorer
from recsys.errors import InvalidRequest, Overloaded, Unavailable
from recsys.reasons import Reason

# Scores


async def test_each_candidate_gets_its_score_in_order(engine: ScoringEngine, desk) -> None:
    scored = await engine.score("ann", 1, desk.loader("a", "b"), [0.25, 0.75, 0.5])
    assert scored == Scored((0.25, 0.75, 0.5), num_references=2)
    stats = engine.stats
    assert (stats.num_requests, stats.num_scored, stats.queue_length) == (1, 3, 0)


async def test_no_candidates_are_refused(engine: ScoringEngine, desk) -> None:
    with pytest.raises(ValueError, match="must not be empty"):
        await engine.score("ann", 1, desk.loader(), [])


async def test_a_pass_holds_the_candidates_of_one_request_alone(
    engine: ScoringEngine, scorer, desk
) -> None:
    holder = await desk.hold(engine)
    tasks = [desk.ask(engine, user, *candidates) for user, candidates in
             [("ann", (0.1, 0.2)), ("bob", (0.3,)), ("ann", (0.4,))]]  # fmt: skip
    await desk.until(lambda: engine.stats.queue_length == 3)
    scorer.is_open.set()
    scores = [(await task).scores for task in tasks]
    assert scores == [(0.1, 0.2), (0.3,), (0.4,)]
    assert sorted(scorer.passes[1:]) == [(0.1, 0.2), (0.3,), (0.4,)]
    await holder


@pytest.mark.parametrize(
    "candidates", [(float("nan"),), (0.5, float("inf")), ("short", "short")], ids=str
)
async def test_scores_that_are_none_are_an_error(
    engine: ScoringEngine, candidates: tuple[Any, ...], desk
) -> None:
    with pytest.raises(ArithmeticError, match="finite scores"):
        await engine.score("ann", 1, desk.loader(), list(candidates))
    assert engine.stats.num_model_failures == 1


# Overload


async def test_a_full_queue_refuses_and_takes_again(start, scorer, desk) -> None:
    engine = await start(max_queue=2)
    holder = await desk.hold(engine)
    waiting = [desk.ask(engine, "ann", 0.5), desk.ask(engine, "bob", 0.5)]
    await desk.until(lambda: engine.stats.queue_length == 2)
    with pytest.raises(Overloaded, match="at most 2 requests") as refused:
        await engine.score("cat", 1, desk.loader(), [0.5])
    assert refused.value.retry_after_s > 0
    assert engine.stats.num_overloaded == 1
    scorer.is_open.set()
    await asyncio.gather(holder, *waiting)
    assert (await engine.score("cat", 1, desk.loader(), [0.5])).scores == (0.5,)


async def test_a_wait_longer_than_the_time_left_is_told_at_once(
    engine: ScoringEngine, scorer, clock, desk
) -> None:
    def take_ten_seconds() -> None:
        clock.now += 10

    scorer.after_pass = take_ten_seconds
    await engine.score("ann", 1, desk.loader(), [0.5])
    assert engine.stats.mean_service_s == 10
    holder = await desk.hold(engine)
    waiting = desk.ask(engine, "ann", 0.5)
    await desk.until(lambda: engine.stats.queue_length == 1)
    with pytest.raises(Overloaded) as refused:  # two before it, ten seconds each
        await engine.score("bob", 1, desk.loader(), [0.5], deadline=clock.now + 15)
    assert refused.value.retry_after_s == pytest.approx(5)
    patient = desk.ask(engine, "bob", 0.5, deadline=clock.now + 1000)
    scorer.is_open.set()
    await asyncio.gather(holder, waiting, patient)


async def test_the_mean_service_time_follows_the_newest(
    engine: ScoringEngine, scorer, clock, desk
) -> None:
    step_s = 10.0

    def take_time() -> None:
        clock.now += step_s

    scorer.after_pass = take_time
    await engine.score("ann", 1, desk.loader(), [0.5])
    step_s = 20.0
    await engine.score("ann", 1, desk.loader(), [0.5])
    assert engine.stats.mean_service_s == pytest.approx(0.8 * 10 + 0.2 * 20)


@pytest.mark.parametrize("options", [{"max_queue": 0}, {"max_failures": 0}, {"num_loaders": 0}])
async def test_counts_too_small_are_refused(make, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1, got 0"):
        make(**options)


# Start and drain


async def test_it_is_ready_only_after_a_real_forward_pass(make, scorer, desk) -> None:
    engine = make()
    assert not engine.ready
    with pytest.raises(Unavailable):
        await engine.score("ann", 1, desk.loader(), [0.5])
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
    engine: ScoringEngine, scorer, desk
) -> None:
    holder = await desk.hold(engine)
    waiting = desk.ask(engine, "ann", 0.25)
    await desk.until(lambda: engine.stats.queue_length == 1)
    draining = asyncio.create_task(engine.drain(desk.give_up_s))
    await desk.until(lambda: not engine.ready)
    with pytest.raises(Unavailable):
        await engine.score("bob", 1, desk.loader(), [0.5])
    scorer.is_open.set()
    await draining
    assert [(await task).scores for task in (holder, waiting)] == [(0.5,), (0.25,)]


async def test_draining_fails_who_is_not_answered_in_time(
    engine: ScoringEngine, scorer, desk
) -> None:
    holder = await desk.hold(engine)
    waiting = desk.ask(engine, "ann", 0.25)
    await desk.until(lambda: engine.stats.queue_length == 1)
    await engine.drain(0.01)
    for task in (holder, waiting):
        with pytest.raises(Unavailable):
            await task


async def test_draining_twice_or_unstarted_is_fine(make) -> None:
    engine = make()
    await engine.drain(0.0)
    await engine.drain(0.0)
    with pytest.raises(RuntimeError):
        await engine.start()


def test_the_fake_is_what_the_engine_takes(scorer) -> None:
    assert isinstance(scorer, Scorer)


def test_importing_the_engine_loads_no_model_library() -> None:
    code = "import sys, recsys.engine.engine; sys.exit('transformers' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# Audiences


@dataclass
class Shifted:
    """A scorer of other preference tokens: it adds to what the model says."""

    model_version: str
    scorer: Any
    by: float

    def prefix(self, references: Sequence[Any]) -> Any:
        return self.scorer.prefix(references)

    def score(self, prefix: Any, candidates: Sequence[Any]) -> Tensor:
        return self.scorer.score(prefix, candidates) + self.by


@pytest.fixture
def audiences(scorer) -> dict[str, Shifted]:
    return {"north": Shifted("of the north", scorer, 0.1), "south": Shifted("s", scorer, 0.2)}


async def test_requests_of_all_audiences_wait_in_one_line_and_each_gets_its_own_scores(
    start, scorer, audiences, desk
) -> None:
    engine = await start(audiences=audiences)
    assert scorer.num_probes == 3, "each was tried before requests are taken"
    versions = ["fake", "of the north", "s"]
    assert [engine.version_of(audience) for audience in ("", "north", "south")] == versions
    holder = await desk.hold(engine)
    tasks = [
        desk.ask(engine, "ann", 0.25, model_version=each) for each in (None, *versions, *versions)
    ]
    await desk.until(lambda: engine.stats.queue_length == 7)
    scorer.is_open.set()
    scores = [(await task).scores[0] for task in tasks]
    assert scores == pytest.approx([0.25, 0.25, 0.35, 0.45, 0.25, 0.35, 0.45])
    await holder
    assert engine.stats.cache_entries == 4, "of the holder, and of ann for each audience"
    assert engine.stats.cache_misses == 4
    engine.forget("ann")
    assert engine.stats.cache_entries == 1


async def test_an_audience_whose_scores_are_no_numbers_keeps_the_engine_from_starting(
    make, audiences
) -> None:
    audiences["south"].by = float("nan")
    engine = make(audiences=audiences)
    with pytest.raises(ArithmeticError, match="finite scores"):
        await engine.start()
    assert not engine.ready


async def test_an_audience_that_there_is_not_is_refused_with_those_that_there_are(
    make, scorer
) -> None:
    with pytest.raises(InvalidRequest, match=r"must be empty: .*; got 'north'") as refused:
        make().version_of("north")
    assert (refused.value.field, refused.value.reason) == ("audience", Reason.AUDIENCE_UNKNOWN)
    many = {f"a{n}": Shifted(str(n), scorer, 0.0) for n in range(23)}
    with pytest.raises(
        InvalidRequest, match=r"one of a0, .*, a19 or 3 more, or empty; got 'x{64}'"
    ):
        make(audiences=many).version_of("x" * 1000)
