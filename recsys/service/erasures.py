"""What a server holds in memory of users whom another process erased, and of images taken down."""

import logging
import threading
import time
from collections.abc import Collection
from datetime import UTC, datetime, timedelta

from recsys.erasure.image_eraser import ImageEraser
from recsys.ranking.ranker import history_number, newest_choice_of
from recsys.service._served import Served, ServedModel
from storage.histories import HistoryStore
from storage.takedowns import NOTHING_BLOCKED, ImageTakedowns
from storage.tombstones import NOBODY_ERASED, erasure_mark

logger = logging.getLogger(__name__)

INTERRUPTED_AFTER = timedelta(minutes=5)
"""How old a block is whose takedown is taken for interrupted while it is unfinished."""

LOOK_EVERY_S = 60.0
"""How often all prefixes and image tokens are looked at, whatever the marks say.

The marks are the same again where somebody was erased and let back, or an image blocked and
unblocked, between two checks, and where an image was removed and not blocked.
"""

SENT_FOR_S = 600.0
"""How long tokens stay in memory of images that are not stored, whatever the marks say.

Most of them were sent to be ranked, and are sent again. But one may have been stored and removed.
"""

_NOBODYS_NUMBER = 0
"""Of the prefix without references, which holds nothing of a person."""


class Erasures:
    """Sees by marks that somebody was erased or an image blocked, and drops what was of them.

    It also finishes takedowns of blocked images that another process began and did not finish.

    Args:
        store: authoritative.
        takedowns: of the same storage.
        served: the model whose prefixes, image tokens and index are kept in memory.
        eraser: finishes takedowns that were interrupted.
    """

    def __init__(
        self,
        store: HistoryStore,
        takedowns: ImageTakedowns,
        served: Served,
        *,
        eraser: ImageEraser,
    ) -> None:
        self._store = store
        self._takedowns = takedowns
        self._eraser = eraser
        self._served = served
        self._marks = (NOBODY_ERASED, NOTHING_BLOCKED)
        self._is_in_doubt = threading.Event()
        self._looked_at = time.monotonic()

    def begin(self) -> None:
        """Read the marks before anything is kept in memory; raises StorageError."""
        self._marks = erasure_mark(self._store.database), self._takedowns.mark()

    def doubt(self) -> None:
        """Have the next check look at all prefixes, whatever the marks say; any thread."""
        self._is_in_doubt.set()

    def check(self) -> None:
        """Drop prefixes of histories that are gone or older, and have the index made anew; blocks.

        While the takedown of a blocked image is unfinished, revisions do not tell which histories
        showed it, so that the first check that sees it drops all prefixes.

        Tokens of images that are not stored go with them.

        The model must be loaded.

        Raises:
            StorageError: if storage does not answer; the next call does it all.
        """
        model = self._served.model
        # Before: an erasure from here on is the next's.
        marks = erasure_mark(self._store.database), self._takedowns.mark()
        is_due = time.monotonic() - self._looked_at >= LOOK_EVERY_S
        is_certain = marks != self._marks or self._is_in_doubt.is_set()
        if is_certain or is_due:
            self._is_in_doubt.clear()
            self._drop(model, is_any_unfinished=marks[1].num_stored > 0)
            self._drop_images(model, sent_for_s=0.0 if is_certain else SENT_FOR_S)
            self._marks = marks
            self._looked_at = time.monotonic()
        if model.similarity is not None:
            model.similarity.drop_erased()
        if marks[1].num_stored:
            self._finish_interrupted()

    def _drop(self, model: ServedModel, *, is_any_unfinished: bool) -> None:
        try:
            stored = _nobodys if is_any_unfinished else self._current
            num_dropped = model.engine.forget_gone(stored)
        except Exception:
            self._is_in_doubt.set()
            raise
        if num_dropped:
            logger.info("%d prefixes of erased or older histories are dropped", num_dropped)

    def _drop_images(self, model: ServedModel, *, sent_for_s: float) -> None:
        if model.image_tokens is None:
            return
        try:
            num_dropped = model.image_tokens.forget_gone(sent_for_s=sent_for_s)
        except Exception:
            self._is_in_doubt.set()
            raise
        if num_dropped:
            logger.info("tokens of %d images that are not stored are dropped", num_dropped)

    def _current(self, numbers: Collection[int]) -> Collection[int]:
        choices = {number: newest_choice_of(number) for number in numbers}
        revisions = self._store.revisions_of(list(choices.values()))
        current = {history_number(*each) for each in revisions.items()} | {_NOBODYS_NUMBER}
        return current & set(numbers)

    def _finish_interrupted(self) -> None:
        until = datetime.now(UTC) - INTERRUPTED_AFTER
        for sha256, taken in self._eraser.finish_interrupted(until=until).items():
            logger.warning("the takedown of image %s was interrupted, and is finished now", sha256)
            for remnant in taken.remnants:
                logger.warning("still names image %s: %s", sha256, remnant)


def _nobodys(numbers: Collection[int]) -> Collection[int]:
    return {_NOBODYS_NUMBER}
