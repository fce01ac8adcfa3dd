"""The watch goes on whatever a check does, and ends when it is told to."""

import logging
import threading

from recsys.service.watch import Watch

GIVE_UP_S = 60.0


def test_a_check_that_fails_is_logged_once_and_keeps_no_other_from_being_made(caplog) -> None:
    rounds: list[str] = []
    is_enough = threading.Event()

    def failing() -> None:
        if len(rounds) < 3:
            raise RuntimeError("storage does not answer")

    def counting() -> None:
        rounds.append("made")
        if len(rounds) > 4:
            is_enough.set()

    watch = Watch([failing, counting], every_s=0.001)
    with caplog.at_level(logging.INFO, "recsys.service.watch"):
        watch.start()
        assert is_enough.wait(GIVE_UP_S)
        watch.close()
    texts = [record.getMessage() for record in caplog.records]
    assert [text for text in texts if "failed" in text] == [
        "a check of what memory holds failed; it is made again"
    ]
    assert len([text for text in texts if "succeeds again" in text]) == 1


def test_it_is_woken_before_its_time() -> None:
    made = threading.Semaphore(0)
    watch = Watch([made.release], every_s=10 * GIVE_UP_S)
    watch.start()
    assert made.acquire(timeout=GIVE_UP_S)
    watch.wake()
    assert made.acquire(timeout=GIVE_UP_S)
    watch.close()


def test_it_ends() -> None:
    before = set(threading.enumerate())
    watch = Watch([lambda: None], every_s=10 * GIVE_UP_S)
    watch.start()
    (thread,) = set(threading.enumerate()) - before
    watch.close()
    thread.join(GIVE_UP_S)
    assert not thread.is_alive()
