"""Requests that wait for the model: a line of groups, each group one user at one revision."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsys.engine.caches import PrefixKey
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed

LoadReferences = Callable[[Sequence[Any]], Awaitable[Sequence[Any]]]
"""Pairs by the names of their images -> what of them the model can read, in their order."""


@dataclass(frozen=True, slots=True)
class GroupKey:
    """Requests that may share one prefix.

    Attributes:
        prefix: the same user, revision and model.
        since: `PrefixCache.num_forgotten` when the history was read. An erased user starts again at
            revision 1, so requests from before and after an erasure must not share references.
    """

    prefix: PrefixKey
    since: int


@dataclass(frozen=True, slots=True)
class Scored:
    """The answer to a request.

    Attributes:
        scores: Q of each candidate, in the order of the candidates, each in [0, 1].
        num_references: how many references the user's prefix was made from.
        borrowed: what of the scores rests on other users' choices.
    """

    scores: tuple[float, ...]
    num_references: int
    borrowed: Borrowed = NOTHING_BORROWED


@dataclass(eq=False, slots=True)
class Item:
    """One request: candidates of one user.

    Attributes:
        candidates: what to score; not empty.
        deadline: on the engine's clock, or None.
        answer: takes the scores; done early when the caller has gone.
    """

    candidates: tuple[Any, ...]
    deadline: float | None
    answer: "asyncio.Future[Scored]"


@dataclass(eq=False, slots=True)
class Group:
    """Requests that share one prefix.

    Attributes:
        key: what they share.
        pairs: the user's references by the names of their images, oldest first.
        items: oldest first.
        loaded: the references on their way, or None while the prefix is warm.
    """

    key: GroupKey
    pairs: Sequence[Any]
    items: list[Item] = field(default_factory=list)
    loaded: "asyncio.Future[Sequence[Any]] | None" = None

    @property
    def is_ready(self) -> bool:
        """Whether the model can start on it without waiting for images."""
        return self.loaded is None or self.loaded.done()


class WaitingLine:
    """Groups in the order in which their first request came.

    A request joins the waiting group of its user, so a user with many requests has one turn like
    everybody else. Used on the event loop alone: no locks.
    """

    def __init__(self) -> None:
        self._groups: dict[GroupKey, Group] = {}

    def __len__(self) -> int:
        """Count the requests that wait."""
        return sum(len(group.items) for group in self._groups.values())

    def join(self, item: Item, group: Group) -> Group:
        """Put the item into the waiting group of the same key, or `group` at the end of the line.

        Returns:
            The group it waits in: `group` itself when it is new in the line.
        """
        group = self._groups.setdefault(group.key, group)
        group.items.append(item)
        return group

    def leave(self, item: Item, group: Group) -> None:
        """Take an item out if it still waits, and its group when that is empty."""
        if item in group.items:
            group.items.remove(item)
        if not group.items and self._groups.get(group.key) is group:
            del self._groups[group.key]
            if group.loaded is not None:
                group.loaded.cancel()

    def take_ready(self) -> Group | None:
        """Take out the first group that need not wait for its images, if any."""
        for key, group in self._groups.items():
            if group.is_ready:
                return self._groups.pop(key)
        return None

    def items(self) -> list[Item]:
        """List the requests that wait."""
        return [item for group in self._groups.values() for item in group.items]
