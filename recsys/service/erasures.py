"""What a server holds in memory of users whom another process has erased."""

import logging
from collections.abc import Collection

from recsys.ranking.ranker import newest_choice_of
from recsys.service._served import Served
from storage.histories import HistoryStore
from storage.tombstones import NOBODY_ERASED, erasure_mark

logger = logging.getLogger(__name__)

_NOBODYS_CHOICE = 0
"""Of the prefix without references, which holds nothing of a person."""


class Erasures:
    """Sees by the mark of the erasures that somebody was erased, and drops what was theirs.

    Args:
        store: authoritative.
        served: the model whose prefixes and index are kept in memory.
    """

    def __init__(self, store: HistoryStore, served: Served) -> None:
        self._store = store
        self._served = served
        self._mark = NOBODY_ERASED

    def begin(self) -> None:
        """Read the mark before anything is kept in memory; raises StorageError."""
        self._mark = erasure_mark(self._store.database)

    def check(self) -> None:
        """Drop prefixes of histories that are gone, and have the index made anew; blocks.

        The model must be loaded.

        Raises:
            StorageError: if storage does not answer; the next call does it all.
        """
        model = self._served.model
        mark = erasure_mark(self._store.database)  # before: an erasure from here on is the next's
        if mark != self._mark:
            num_dropped = model.engine.forget_gone(self._stored)
            if num_dropped:
                logger.info("%d prefixes of erased users are dropped", num_dropped)
            self._mark = mark
        if model.similarity is not None:
            model.similarity.drop_erased()

    def _stored(self, revisions: Collection[int]) -> Collection[int]:
        choices = {number: newest_choice_of(number) for number in revisions}
        stored = self._store.stored_ids(list(choices.values())) | {_NOBODYS_CHOICE}
        return {number for number, choice_id in choices.items() if choice_id in stored}
