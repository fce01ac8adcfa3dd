"""Whether the database answers, asked every few seconds: health and metrics go by it."""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from recsys.service._threads import in_thread
from recsys.service.watch import EVERY_S

logger = logging.getLogger(__name__)

_TIMEOUT_S = 2.0


class DatabaseWatch:
    """Asks the database a trivial question over and over, in a thread of its own.

    A question that is not answered in time counts as a no, and no other is asked before it ends:
    one that hangs does not heap up, and holds up no other watch, which is why this is not a check
    of `recsys.service.watch`.

    Args:
        ask: whether the database answers; may block.
        every_s: seconds between an answer and the next question.
        timeout_s: how long an answer may take, in seconds.

    Attributes:
        answers: what the last question came to; True before the first.
    """

    def __init__(
        self,
        ask: Callable[[], bool],
        *,
        every_s: float = EVERY_S,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        self.answers = True
        self._ask = ask
        self._every_s = every_s
        self._timeout_s = timeout_s
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="recsys-database")
        self._asking: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to ask, on the running event loop; once."""
        self._asking = asyncio.create_task(self._keep_asking(), name="recsys-database")

    def close(self) -> None:
        """Ask no more; a question that hangs is left alone."""
        if self._asking is not None:
            self._asking.cancel()
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _keep_asking(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            asked = asyncio.ensure_future(in_thread(self._threads, self._ask))
            done, _ = await asyncio.wait({asked}, timeout=self._timeout_s)
            self._note(bool(done) and _is_yes(asked))
            await asyncio.wait({asked})
            self._note(_is_yes(asked))

    def _note(self, answers: bool) -> None:
        if answers == self.answers:
            return
        self.answers = answers
        logger.warning("the database %s", "answers again" if answers else "does not answer")


def _is_yes(asked: "asyncio.Future[bool]") -> bool:
    error = asked.exception()
    if error is not None:
        logger.error("asking the database failed", exc_info=error)
    return error is None and asked.result()
