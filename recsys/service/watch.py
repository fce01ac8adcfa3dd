"""A thread that looks every few seconds whether other processes have changed what memory holds."""

import logging
import threading
from collections.abc import Callable, Sequence

logger = logging.getLogger(__name__)

EVERY_S = 5.0


class Watch:
    """Makes some checks over and over, one after another, in a daemon thread of its own.

    A check that fails is logged, once until it succeeds again, and made again with the others.

    Args:
        checks: called without arguments; may block.
        every_s: seconds between the end of a round and the next, above 0.
    """

    def __init__(self, checks: Sequence[Callable[[], None]], *, every_s: float = EVERY_S) -> None:
        self._checks = checks
        self._every_s = every_s
        self._failing: set[int] = set()
        self._is_over = False
        self._wake = threading.Event()
        self._thread = threading.Thread(target=self._run, name="recsys-watch", daemon=True)

    def start(self) -> None:
        """Begin; once."""
        self._thread.start()

    def wake(self) -> None:
        """Begin the next round now; any thread, started or not."""
        self._wake.set()

    def close(self) -> None:
        """End after the check that runs, without waiting for it."""
        self._is_over = True
        self._wake.set()

    def _run(self) -> None:
        while not self._is_over:
            self._wake.clear()
            for number, check in enumerate(self._checks):
                if not self._is_over:
                    self._make(number, check)
            if not self._is_over:
                self._wake.wait(self._every_s)

    def _make(self, number: int, check: Callable[[], None]) -> None:
        try:
            check()
        except Exception:
            if number not in self._failing:
                self._failing.add(number)
                logger.exception("a check of what memory holds failed; it is made again")
        else:
            if number in self._failing:
                self._failing.remove(number)
                logger.info("the check of what memory holds succeeds again")
