"""The watch over the database: what hangs or fails is a no, and never two questions at once."""

import asyncio
import threading

import pytest

from recsys.service.database_watch import DatabaseWatch

GIVE_UP_S = 60.0


async def until(condition) -> None:
    async with asyncio.timeout(GIVE_UP_S):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture
def watching():
    """Start watches; they end with the test."""
    watches = []

    def watching(ask, **options) -> DatabaseWatch:
        watches.append(DatabaseWatch(ask, every_s=0.001, **options))
        watches[-1].start()
        return watches[-1]

    yield watching
    for watch in watches:
        watch.close()


async def test_a_question_that_hangs_is_a_no_and_is_asked_once(watching) -> None:
    is_open, num_asked = threading.Event(), []

    def ask() -> bool:
        num_asked.append(1)
        return is_open.wait(GIVE_UP_S)

    watch = watching(ask, timeout_s=0.01)
    assert watch.answers
    await until(lambda: not watch.answers)
    await asyncio.sleep(0.1)
    assert len(num_asked) == 1

    is_open.set()
    await until(lambda: watch.answers)
    await until(lambda: len(num_asked) > 1)


async def test_a_question_that_raises_is_a_no_and_is_asked_again(watching, caplog) -> None:
    is_broken = threading.Event()
    is_broken.set()

    def ask() -> bool:
        if is_broken.is_set():
            raise RuntimeError("no such thing")
        return True

    watch = watching(ask)
    await until(lambda: not watch.answers)
    is_broken.clear()
    await until(lambda: watch.answers)
    assert "asking the database failed" in caplog.text
    assert "the database answers again" in caplog.text
