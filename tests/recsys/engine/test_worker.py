"""A model that fails: who is told, and what health says."""

import asyncio
import threading
from typing import Any

import pytest

from recsys.engine.engine import ScoringEngine
from recsys.engine.queue import WaitingLine
from recsys.errors import InvalidRequest, Unavailable


async def test_a_failure_fails_its_request_alone(engine: ScoringEngine, scorer, desk) -> None:
    holder = await desk.hold(engine)
    bad, good = desk.ask(engine, "ann", "broken"), desk.ask(engine, "ann", 0.5)
    await desk.until(lambda: engine.stats.queue_length == 2)
    scorer.is_open.set()
    with pytest.raises(RuntimeError, match="device lost"):
        await bad
    assert (await good).scores == (0.5,)
    await holder
    assert engine.ready
    assert (engine.stats.num_failed, engine.stats.num_model_failures) == (1, 1)


async def fail_three_times(engine: ScoringEngine, desk, candidate: Any = 0.5) -> None:
    for _ in range(3):
        with pytest.raises(RuntimeError, match="device lost"):
            await engine.score("ann", 1, desk.loader(), [candidate])


async def test_a_dead_device_makes_it_unready_until_a_probe_succeeds(
    engine: ScoringEngine, scorer, desk
) -> None:
    scorer.is_broken = True
    await fail_three_times(engine, desk)
    assert not engine.ready
    with pytest.raises(Unavailable):
        await engine.score("ann", 1, desk.loader(), [0.5])
    with pytest.raises(RuntimeError, match="device lost"):
        await engine.probe()
    assert not engine.ready
    scorer.is_broken = False
    await engine.probe()
    assert engine.ready
    assert (await engine.score("ann", 1, desk.loader(), [0.5])).scores == (0.5,)


async def test_who_waits_for_a_dead_device_is_told(engine: ScoringEngine, scorer, desk) -> None:
    await engine.score("ann", 1, desk.loader(), [0.5])
    holder = await desk.hold(engine)
    scorer.is_broken = True
    failing = [desk.ask(engine, "ann", 0.5) for _ in range(3)]  # warm, so ready before bob and cat
    await desk.until(lambda: engine.stats.queue_length == 3)
    waiting = [desk.ask(engine, user, 0.5) for user in ("bob", "cat")]
    await desk.until(lambda: engine.stats.queue_length == 5)
    scorer.is_open.set()
    answers = await asyncio.gather(holder, *failing, *waiting, return_exceptions=True)
    assert [type(answer) for answer in answers] == [RuntimeError] * 4 + [Unavailable] * 2


async def test_poisonous_requests_do_not_make_a_sound_model_unready(
    engine: ScoringEngine, scorer, desk
) -> None:
    await fail_three_times(engine, desk, "broken")
    await desk.until(lambda: scorer.num_probes == 2)  # at the start, and after the third failure
    await desk.until(lambda: engine.ready)
    assert (await engine.score("ann", 1, desk.loader(), [0.5])).scores == (0.5,)


async def test_requests_the_model_refuses_on_purpose_are_no_failures(
    engine: ScoringEngine, desk
) -> None:
    for _ in range(4):
        with pytest.raises(InvalidRequest):
            await engine.score("ann", 1, desk.loader(), ["refused"])
    assert engine.ready
    assert engine.stats.num_model_failures == 0


async def test_a_device_that_dies_and_revives_while_idle_is_noticed(start, scorer, desk) -> None:
    engine = await start(probe_every_s=0.001)
    scorer.is_broken = True
    await desk.until(lambda: not engine.ready)
    scorer.is_broken = False
    await desk.until(lambda: engine.ready)


async def test_a_call_that_hangs_makes_it_unready_while_it_hangs(
    start, scorer, clock, desk
) -> None:
    engine = await start(stalled_after_s=30.0)
    hanging = await desk.hold(engine)
    assert engine.ready
    clock.now += 31
    assert not engine.ready
    scorer.is_open.set()
    await hanging
    assert engine.ready


async def test_a_dead_loop_makes_it_unready_and_tells_who_waits(
    engine: ScoringEngine, scorer, monkeypatch: pytest.MonkeyPatch, desk
) -> None:
    holder = await desk.hold(engine)
    waiting = desk.ask(engine, "ann", 0.5)
    await desk.until(lambda: engine.stats.queue_length == 1)

    def die(line: WaitingLine) -> None:
        raise KeyError("a bug")

    monkeypatch.setattr(WaitingLine, "take_ready", die)
    scorer.is_open.set()
    with pytest.raises(Unavailable):
        await waiting
    await holder
    assert not engine.ready
    with pytest.raises(Unavailable):
        await engine.score("ann", 1, desk.loader(), [0.5])


async def test_other_computations_run_on_the_models_thread_and_count(
    engine: ScoringEngine,
) -> None:
    def name() -> str:
        return threading.current_thread().name

    assert (await asyncio.to_thread(engine.compute, name)).startswith("recsys-model")
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(engine.compute, lambda: 1 // 0)

    assert engine.stats.num_model_failures == 3
    with pytest.raises(Unavailable):  # for the model is unwell now
        await asyncio.to_thread(engine.compute, name)


async def test_a_computation_that_waits_while_the_engine_ends_is_told(
    engine: ScoringEngine, scorer, desk
) -> None:
    holder = await desk.hold(engine)
    waiting = asyncio.create_task(asyncio.to_thread(engine.compute, lambda: 1))
    await desk.until(lambda: engine._model._pool._work_queue.qsize() == 1)
    await engine.drain(0)
    scorer.is_open.set()

    with pytest.raises(Unavailable):
        await waiting
    with pytest.raises(Unavailable):
        engine._model.compute(lambda: 1)
    await asyncio.gather(holder, return_exceptions=True)
