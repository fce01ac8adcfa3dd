"""Who is learned from, who says when to stop, and who judges an adaptation.

People are dealt by a digest of their id alone, so that they keep their part when data grow and
whatever the seed. Whoever the checkpoint learned from, or was validated on, is only learned from;
privately, not even that.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from recsys.counts import counted
from recsys.history import Pair
from recsys.scorer.trained_on import TrainedOn
from training.data.samples import PairTable, images_of
from training.data.splits import SplitRule, eligible
from training.evaluation.questions import REFERENCE_COUNTS, Samples, newest_samples

FEWEST = 8
"""People that each part must have."""

NUM_PAIRS = 8
"""Pairs that each person held out is asked about, at most."""

FEWEST_REFERENCES = REFERENCE_COUNTS[-1]
"""Of a person held out; where the checkpoint reads more, who has as many is asked behind all."""

_JUDGES = SplitRule(validation_users=0.15, held_prompts=0.25)
_HELD_OUT = SplitRule(validation_users=0.3, held_prompts=0.4)
"""Those who judge, and with them those who are validated on; prompts where people share images."""

_MOST_LOST = 0.5


@dataclass(frozen=True, eq=False)
class Dealt:
    """The three parts; no person is in two of them.

    No pair that is asked shows an image of a pair that another part learns from or asks about. What
    is read before them may: references are from whole histories.

    Attributes:
        learned: pairs that are learned from.
        validation: asked to choose the best weights.
        comparison: asked once, at the end.
        holds_prompts: whether prompts were dealt like people, because people share images.
        num_left_out: people whom the checkpoint knows, and who are in no part.
    """

    learned: PairTable
    validation: Samples
    comparison: Samples
    holds_prompts: bool
    num_left_out: int = 0

    @property
    def rows(self) -> list[int]:
        """Rows of all images that are read."""
        asked = [*self.validation.values(), *self.comparison.values()]
        pairs = [*self.learned.pairs.values()]
        pairs += [(*sample.references, *sample.pairs) for sample in asked]
        return sorted({row for own in pairs for row in images_of(own)})

    @property
    def lendable(self) -> PairTable:
        """What those who are compared may borrow: all pairs of others without the images asked.

        Of those who validate their references are lent, too, which show what is asked where people
        share images. What the compared read may be lent: the service knows it of them, too.
        """
        validated = {
            user: (*sample.references, *sample.pairs) for user, sample in self.validation.items()
        }
        asked = _images(sample.pairs for sample in self.comparison.values())
        pairs = _apart({**self.learned.pairs, **validated}, asked)
        return replace(self.learned, pairs=pairs)

    @property
    def num_people(self) -> dict[str, int]:
        """People of each part."""
        parts = {"validation": self.validation, "comparison": self.comparison}
        return {"learned": len(self.learned.pairs)} | {n: len(own) for n, own in parts.items()}


def deal(table: PairTable, *, parent: TrainedOn | None, num_references: int) -> Dealt:
    """Deal people into learned from (70 %), validation and comparison (15 % each).

    Where most pairs of those who judge show images that are learned from, prompts are dealt too:
    60 % are learned from, and 15 and 25 % are asked.

    Args:
        table: all pairs.
        parent: whom the checkpoint learned from; it must tell. None: nobody.
        num_references: read for each person who is asked, of those who have so many; of the others
            `FEWEST_REFERENCES`.

    Raises:
        ValueError: if a part has fewer than `FEWEST` people.
    """
    enough = eligible(table, 2)
    known = _known(enough, parent)
    sides = {user: "learned" if user in known else _side(user) for user in enough.pairs}
    used = _used(enough, known, parent)
    judges = _of("comparison", sides)
    holds = _share_images(enough, judges, _of("learned", sides))
    dealt = _dealt(enough, sides, used, num_references, holds_prompts=holds)
    _check(dealt, len(table.pairs), len(known), num_references)
    return dealt


def deal_privately(table: PairTable, *, parent: TrainedOn | None, num_references: int) -> Dealt:
    """Deal people into learned from (85 %) and comparison (15 %); nobody validates.

    Nothing that is asked depends on those who are learned from, or the figures would tell of them:
    what is asked is dealt first, and each person who is learned from loses the pairs that show it.
    Whether prompts are dealt too is decided by those who judge, half of them against the other.
    Whoever the checkpoint knows is left out: what is asked shows no image that it has seen, so
    their choices decide which pairs of everybody else are left.

    Args:
        table, parent, num_references: as `deal`.

    Raises:
        ValueError: as `deal`.
    """
    enough = eligible(table, 2)
    known = _known(enough, parent)
    sides = {
        user: "comparison" if _JUDGES.holds_user(user) else "learned"
        for user in enough.pairs
        if user not in known
    }
    judges = _of("comparison", sides)
    holds = _share_images(enough, judges[::2], judges[1::2])

    def may(side: str, prompt: str) -> bool:
        return not holds or _JUDGES.holds_prompt(prompt) == (side == "comparison")

    own = _own_pairs(enough, sides, may)
    comparison = _asked(enough, own["comparison"], _used(enough, known, parent), num_references)
    shown = _images(sample.pairs for sample in comparison.values())
    learned = eligible(replace(enough, pairs=_apart(own["learned"], shown)), 2)
    dealt = Dealt(learned, {}, comparison, holds, num_left_out=len(known))
    parts = ("learned", "comparison")
    _check(dealt, len(table.pairs), len(known), num_references, parts=parts)
    return dealt


def _dealt(
    table: PairTable,
    sides: Mapping[str, str],
    used: set[int],
    num_references: int,
    *,
    holds_prompts: bool,
) -> Dealt:
    """Learned pairs first, then what is asked, each apart from the images of those before."""

    def may(side: str, prompt: str) -> bool:
        return not holds_prompts or _prompt_side(prompt) == side

    own = _own_pairs(table, sides, may)
    learned = eligible(replace(table, pairs=own["learned"]), 2)
    shown = used | _images(learned.pairs.values())
    validation = _asked(table, own["validation"], shown, num_references)
    shown = shown | _images(sample.pairs for sample in validation.values())
    comparison = _asked(table, own["comparison"], shown, num_references)
    return Dealt(learned, validation, comparison, holds_prompts)


def _asked(
    table: PairTable,
    pairs: Mapping[str, Sequence[Pair]],
    shown: set[int],
    num_references: int,
) -> Samples:
    apart = _apart(pairs, shown)
    return newest_samples(
        table,
        apart,
        seed=0,
        num_references=num_references,
        num_pairs=NUM_PAIRS,
        fewest_references=FEWEST_REFERENCES,
    )


def _apart(pairs: Mapping[str, Sequence[Pair]], shown: set[int]) -> dict[str, tuple[Pair, ...]]:
    """Each person's pairs without those that show one of these images."""
    return {u: tuple(p for p in own if not images_of([p]) & shown) for u, own in pairs.items()}


def _own_pairs(
    table: PairTable, sides: Mapping[str, str], may: Callable[[str, str], bool]
) -> dict[str, dict[str, tuple[Pair, ...]]]:
    """By part and person, the pairs whose prompt that part may see."""
    return {
        side: {
            user: tuple(pair for pair in table.pairs[user] if may(side, pair.prompt))
            for user in _of(side, sides)
        }
        for side in _NOUN
    }


def _of(side: str, sides: Mapping[str, str]) -> list[str]:
    return [user for user, own in sides.items() if own == side]


def _share_images(table: PairTable, judges: Sequence[str], others: Sequence[str]) -> bool:
    """Whether most pairs of those who judge show an image that the others chose among."""
    theirs = _images(table.pairs[user] for user in others)
    judged = [pair for user in judges for pair in table.pairs[user]]
    return sum(bool(images_of([p]) & theirs) for p in judged) > _MOST_LOST * len(judged)


def _known(table: PairTable, parent: TrainedOn | None) -> set[str]:
    """Who is in the parent already."""
    return {user for user in table.pairs if parent is not None and parent.holds(user)}


def _used(table: PairTable, known: Collection[str], parent: TrainedOn | None) -> set[int]:
    """Rows of images that the checkpoint was trained or validated on."""
    if parent is None:
        return set()
    return _images([p for p in table.pairs[user] if parent.used(user, p)] for user in known)


def _images(pairs: Iterable[Sequence[Pair]]) -> set[int]:
    return {row for own in pairs for row in images_of(own)}


def _side(user_id: str) -> str:
    if _JUDGES.holds_user(user_id):
        return "comparison"
    return "validation" if _HELD_OUT.holds_user(user_id) else "learned"


def _prompt_side(prompt: str) -> str:
    if _JUDGES.holds_prompt(prompt):
        return "comparison"
    return "validation" if _HELD_OUT.holds_prompt(prompt) else "learned"


def _check(
    dealt: Dealt,
    num_users: int,
    num_known: int,
    num_references: int,
    *,
    parts: Sequence[str] = ("learned", "validation", "comparison"),
) -> None:
    for part in parts:
        number = dealt.num_people[part]
        if number < FEWEST:
            *nouns, last = (_NOUN[each] for each in parts)
            needed = min(num_references, FEWEST_REFERENCES)
            raise ValueError(
                f"an adaptation needs at least {FEWEST} people for each of {', '.join(nouns)}"
                f" and {last}, got {number} for {_NOUN[part]} among"
                f" {counted(num_users, 'person', 'people')}, {num_known} of whom the checkpoint"
                f" knows already (people are asked who have {needed} references and a pair"
                " of images that nothing is learned from): import more choices"
            )


_NOUN = {"learned": "learning", "validation": "validation", "comparison": "comparison"}
