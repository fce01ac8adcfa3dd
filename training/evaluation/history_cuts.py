"""Histories cut into two halves, and what is left, to judge signatures by."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from recsys.history import SIGNATURE_REFERENCES
from recsys.signatures.attention_maps import reorderings
from training.data.samples import Pair, PairTable, apart, halves, user_rng

Pairs = tuple[Pair, ...]


@dataclass(frozen=True)
class Cut:
    """A shuffled history: two halves of references that share no choice, and what is left.

    Attributes:
        first, second: equal in number, at most as many as the model reads at once.
        rest: others, so that all together are at most what a signature reads.
    """

    first: Pairs
    second: Pairs
    rest: Pairs

    @property
    def whole(self) -> Pairs:
        """All of them in their order, one pair of each choice."""
        return self.first + self.second + self.rest


def cut_histories(
    histories: PairTable, users: Sequence[str], *, num_references: int, seed: int
) -> dict[str, Cut]:
    """Shuffle and cut histories; users without two halves are left out.

    Args:
        histories: all pairs.
        users: whose.
        num_references: of each half at most.
        seed: decides, for each user by themself.
    """
    cuts = {}
    for user in users:
        pairs = histories.pairs[user]
        both = halves(pairs, user_rng(seed, user), num_references=num_references)
        if both is not None:
            order = user_rng(seed, user).permutation(len(pairs))  # the same that `halves` drew
            shuffled = [pairs[index] for index in order]
            rest = apart(shuffled, SIGNATURE_REFERENCES)[2 * len(both[0]) :]
            cuts[user] = Cut(*both, rest)
    return cuts


def in_parts(pairs: Pairs, size: int) -> Iterator[Pairs]:
    """References as a model reads them, so many at once; the last part may be smaller."""
    for start in range(0, len(pairs), size):
        yield pairs[start : start + size]


def reordered(pairs: Pairs, turn: int) -> Pairs:
    """The same references in another order, the same for everybody.

    Args:
        pairs: as given, at least two.
        turn: which order, 0 or more.
    """
    given, drawn = reorderings(len(pairs), num_orders=2, seed=turn + 1)
    order = drawn if drawn != given else given[::-1]
    return tuple(pairs[place] for place in order)
