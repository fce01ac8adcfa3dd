"""Pairs of a history, and which of them the model reads: one rule for serving and evaluation.

Pure but for `read_history`; no tensors here.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

from storage.records import Choice, History

SIGNATURE_REFERENCES = 32
"""References that a signature reads, the newest; where the model takes fewer at once, in parts."""

MAX_CHOICES_READ = 512
"""How far back references are looked for, for a user whose choices form hardly any pairs."""


@runtime_checkable
class HistoryReader(Protocol):
    """What reads histories, as `storage.histories.HistoryStore` does; called in threads."""

    def read(self, user_id: str, *, limit: int | None = None) -> History:
        """Return the newest `limit` choices, oldest first; revision 0 for an unknown user."""


Personalizes = Callable[[str], bool]
"""Whether a user lets rankings and signatures be made from their choices; blocks."""


@runtime_checkable
class PlacedPair(Protocol):
    """A liked and a disliked image, and where in a history they stand."""

    @property
    def choice(self) -> int:
        """Which choice of the user; newer ones have larger numbers."""

    @property
    def nth(self) -> int:
        """Which of the images that the choice passed over, from 0."""


AnyPair = TypeVar("AnyPair", bound=PlacedPair)


@dataclass(frozen=True)
class Pair:
    """A liked and a disliked image of one prompt, as rows of an image table.

    Attributes:
        liked, disliked: rows, at least 0.
        prompt: what both were made from.
        chosen_at: when, in POSIX seconds (UTC); 0 where it does not matter.
        choice: which of the user's choices, 0 or more; newer ones have larger numbers.
        nth: which of the images that this choice passed over, from 0.
        liked_first: as a reference, whether the liked image is read before the disliked one, as
            served.
    """

    liked: int
    disliked: int
    prompt: str
    chosen_at: float = 0.0
    choice: int = 0
    nth: int = 0
    liked_first: bool = True

    @property
    def in_reading_order(self) -> tuple[int, int]:
        """Both rows, in the order in which a reference's images are read."""
        rows = self.liked, self.disliked
        return rows if self.liked_first else rows[::-1]


class ReferencePair(NamedTuple):
    """A pair that the model reads, by the names of its images.

    Attributes:
        liked: SHA-256.
        disliked: SHA-256, of an image passed over in the same choice.
        prompt: what both were made from.
    """

    liked: str
    disliked: str
    prompt: str


def select(
    pairs: Sequence[AnyPair], num_references: int, *, order: Sequence[int] | None = None
) -> tuple[AnyPair, ...]:
    """Select the pairs of a history that the model reads.

    Each choice gives one pair before any gives a second: different liked images tell more than one
    liked image many times. As served, the newest choices come first, each with its passed-over
    images in their order. A protocol that asks for another selection, such as a random one, passes
    an order of its own.

    Args:
        pairs: of one user, oldest first; of pairs in the same place, the later one is newer.
        num_references: at most so many; at least 0.
        order: indices into `pairs`, those to be read first in front; None: as served.

    Returns:
        As served, in the order of the history; else in the given order, round by round. What is
        selected of a selection as served is what is selected of the whole.

    Raises:
        ValueError: if `num_references` is negative.
    """
    if num_references < 0:
        raise ValueError(f"num_references must be at least 0, got {num_references}")
    placed = [(pair.choice, pair.nth, index) for index, pair in enumerate(pairs)]
    newest_first = sorted(placed, key=lambda place: (-place[0], place[1], -place[2]))
    wanted = newest_first if order is None else [placed[index] for index in order]
    rounds: Counter[int] = Counter()
    in_rounds = []
    for place in wanted:
        in_rounds.append((rounds[place[0]], place))
        rounds[place[0]] += 1
    in_rounds.sort(key=lambda each: each[0])
    chosen = [place for _, place in in_rounds[:num_references]]
    return tuple(pairs[index] for _, _, index in (sorted(chosen) if order is None else chosen))


def references_of(history: History, num_references: int = 8) -> tuple[ReferencePair, ...]:
    """Select what the model reads of a stored history, as `select` has it.

    Args:
        history: oldest first, as storage gives it.
        num_references: at most so many pairs; at least 0.

    Returns:
        In the order of the choices, within a choice in the order of its passed-over images.

    Raises:
        ValueError: if `num_references` is negative.
    """
    pairs = [
        _PlacedReference(index, nth, ReferencePair(choice.liked, disliked, choice.prompt))
        for index, choice in enumerate(stored.choice for stored in history.choices)
        if choice.liked is not None
        for nth, disliked in enumerate(choice.passed_over)
    ]
    return tuple(placed.pair for placed in select(pairs, num_references))


def read_history(reader: HistoryReader, user_id: str, num_references: int) -> History:
    """Read a history back to where the newest pairs are found, and no further.

    Args:
        reader: of stored histories.
        user_id: whose; an unknown user has an empty history.
        num_references: pairs looked for, at least 0, among the newest `MAX_CHOICES_READ` choices.
    """
    limit = max(num_references, 1)
    while True:
        history = reader.read(user_id, limit=limit)
        choices = [stored.choice for stored in history.choices]
        is_enough = num_pair_choices(choices) >= num_references
        if is_enough or len(choices) < limit or limit >= MAX_CHOICES_READ:
            return history
        limit = min(limit * 8, MAX_CHOICES_READ)


def num_pair_choices(choices: Sequence[Choice]) -> int:
    """Count the choices that give at least one pair."""
    return sum(choice.liked is not None and bool(choice.passed_over) for choice in choices)


class _PlacedReference(NamedTuple):
    choice: int
    nth: int
    pair: ReferencePair
