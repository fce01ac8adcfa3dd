"""What of a history signatures are judged by: two halves drawn at random, and what is served."""

from collections.abc import Sequence
from dataclasses import dataclass

from recsys.history import SIGNATURE_REFERENCES, Pair, select
from recsys.signatures.orders import reorderings
from training.data.samples import PairTable, halves, user_rng

Pairs = tuple[Pair, ...]


@dataclass(frozen=True)
class Cut:
    """One user's history as it is judged.

    Attributes:
        first, second: random halves that share no choice, equal in number, at most as many pairs
            as the model reads at once.
        whole: what the served signature reads, oldest first.
    """

    first: Pairs
    second: Pairs
    whole: Pairs


def cut_histories(
    table: PairTable, users: Sequence[str], *, num_references: int, seed: int
) -> dict[str, Cut]:
    """Cut histories; users without two halves are left out.

    Args:
        table: all pairs.
        users: whose.
        num_references: of each half at most.
        seed: decides the halves, for each user by themself.
    """
    cuts = {}
    for user in users:
        pairs = table.pairs[user]
        both = halves(pairs, user_rng(seed, user), num_references=num_references)
        if both is not None:
            cuts[user] = Cut(*both, select(pairs, SIGNATURE_REFERENCES))
    return cuts


def reordered(pairs: Pairs, turn: int) -> Pairs:
    """The same references in another order, the same for everybody.

    Args:
        pairs: as given, at least two.
        turn: which order, 0 or more.
    """
    given, drawn = reorderings(len(pairs), num_orders=2, seed=turn + 1)
    order = drawn if drawn != given else given[::-1]
    return tuple(pairs[place] for place in order)
