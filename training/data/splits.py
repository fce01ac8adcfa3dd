"""What is learned from, what is validated on and what is kept for judging: three parts that share
nothing they should not.

By user: validation users are nobody's in training. By prompt: held-out prompts, and so their
images, are learned from nobody; with them users that were learned from are judged on images that
were not. By time: the newest share of each user's choices is held out. Users and prompts take
their side by a hash of the seed and themselves, so they keep it when data grow.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from recsys.history import Pair
from training.data.samples import PairTable, images_of
from training.data.trained_on import histories_digest


@dataclass(frozen=True)
class SplitRule:
    """How users, prompts and choices are dealt.

    Attributes:
        seed: decides the sides.
        validation_users: share of users, in [0, 1).
        held_prompts: share of prompt texts, in [0, 1).
        newest: share of all training users' pairs, each user's newest, in [0, 1). A user gives
            that share of their own, rounded up or down by a hash of the seed and the id, so that
            a small share of many short histories is not rounded away.
        fewest_liked: users with fewer distinct liked images take no part (the paper's 11).
    """

    seed: int = 0
    validation_users: float = 0.0
    held_prompts: float = 0.0
    newest: float = 0.0
    fewest_liked: int = 2

    def holds_user(self, user_id: str) -> bool:
        """Whether a user is for validation."""
        return _share(self.seed, "user", user_id) < self.validation_users

    def num_newest(self, user_id: str, num_pairs: int) -> int:
        """How many of a training user's pairs are held out for being the newest.

        Args:
            user_id: whose.
            num_pairs: of the user, 0 or more.
        """
        return math.floor(self.newest * num_pairs + _share(self.seed, "newest", user_id))

    def holds_prompt(self, prompt: str) -> bool:
        """Whether a prompt is held out."""
        return _share(self.seed, "prompt", prompt) < self.held_prompts


@dataclass(frozen=True, eq=False)
class Split:
    """Three parts of the same histories.

    Attributes:
        rule: how they were dealt.
        whole: everybody who takes part, with all pairs: what references may be read from.
        train: learned from.
        validation: of users never learned from, on images never learned from either; their
            prompts may be learned from, unless the rule holds them out.
        held: of users learned from: held-out prompts, and the newest choices.
        num_short: users left out for too few liked images.
        num_overlapping: pairs of validation and held left out because an image of theirs is
            learned from, or validated on.
    """

    rule: SplitRule
    whole: PairTable
    train: PairTable
    validation: PairTable
    held: PairTable
    num_short: int
    num_overlapping: int

    @property
    def parts(self) -> Mapping[str, PairTable]:
        """The parts by name."""
        return {"train": self.train, "validation": self.validation, "held": self.held}

    @property
    def digests(self) -> dict[str, str]:
        """SHA-256 of each part: users, images, prompts and times."""
        return {name: histories_digest(part) for name, part in self.parts.items()}


class Leakage(ValueError):
    """Two parts of a split share what they must not; the message names the first of it."""


def split(table: PairTable, rule: SplitRule) -> Split:
    """Deal histories into their parts, and check that nothing leaks.

    Raises:
        ValueError: if nobody is left to learn from.
        ValueError: if each pair of the validation users shows an image that is learned from.
        Leakage: never for what this function deals; `check_leakage` is its witness.
    """
    enough = eligible(table, rule.fewest_liked)
    learners = {u: p for u, p in enough.pairs.items() if not rule.holds_user(u)}
    train, held = {}, {}
    for user, pairs in learners.items():
        free = [p for p in pairs if not rule.holds_prompt(p.prompt)]
        kept, newest = _by_time(free, rule.num_newest(user, len(free)))
        if not kept:
            continue
        train[user] = tuple(kept)
        held[user] = tuple(
            sorted([*newest, *(p for p in pairs if rule.holds_prompt(p.prompt))], key=_at)
        )
    validation = {u: p for u, p in enough.pairs.items() if rule.holds_user(u)}
    learned = {row for pairs in train.values() for row in images_of(pairs)}
    validated = _apart_from(learned, validation)
    chosen_by = {row for pairs in validated.values() for row in images_of(pairs)}
    apart = [validated, _apart_from(learned | chosen_by, held)]
    if validation and not apart[0]:
        raise ValueError(
            f"validation users must have pairs apart from all that is learned from, got none of "
            f"{_count(validation)}: users share images, so hold out more prompts than"
            f" {rule.held_prompts:g}, as by --set split.held_prompts=0.3"
        )
    overlapping = sum(map(_count, (validation, held))) - sum(map(_count, apart))
    if not train:
        raise ValueError(
            f"the split must leave somebody to learn from, got {len(table.pairs)} users, "
            f"{len(table.pairs) - len(enough.pairs)} of them with fewer than "
            f"{rule.fewest_liked} liked images: import more choices or hold out less"
        )
    dealt = Split(
        rule,
        enough,
        replace(table, pairs=train),
        replace(table, pairs=apart[0]),
        replace(table, pairs=apart[1]),
        num_short=len(table.pairs) - len(enough.pairs),
        num_overlapping=overlapping,
    )
    check_leakage(dealt)
    return dealt


def eligible(table: PairTable, fewest_liked: int) -> PairTable:
    """Users with at least so many distinct liked images."""
    kept = {
        user: pairs
        for user, pairs in table.pairs.items()
        if len({pair.liked for pair in pairs}) >= fewest_liked
    }
    return replace(table, pairs=kept)


def check_leakage(dealt: Split) -> None:
    """Pass only when what is judged was in no way learned from.

    Raises:
        Leakage: if a validation user is learned from, a held-out prompt or an image of validation
            or held-out pairs is, an image is both validated on and held out, or a held-out choice
            is no newer than one learned from.
    """
    train = dealt.train
    learned = {name for pairs in train.pairs.values() for name in _names(train, pairs)}
    shared = sorted(train.pairs.keys() & dealt.validation.pairs.keys())
    if shared:
        raise Leakage(f"user {shared[0]} is both learned from and for validation")
    for user, pairs in train.pairs.items():
        bad = next((pair.prompt for pair in pairs if dealt.rule.holds_prompt(pair.prompt)), None)
        if bad is not None:
            raise Leakage(f"the held-out prompt {bad!r} is learned from {user}")
    for name in ("validation", "held"):
        for user, pairs in dealt.parts[name].pairs.items():
            images = _names(dealt.parts[name], pairs) & learned
            if images:
                raise Leakage(f"image {min(images)[:12]} of {user} is learned from and in {name}")
    validated = {
        name
        for pairs in dealt.validation.pairs.values()
        for name in _names(dealt.validation, pairs)
    }
    for user, pairs in dealt.held.pairs.items():
        images = _names(dealt.held, pairs) & validated
        if images:
            raise Leakage(f"image {min(images)[:12]} of {user} is validated on and held out")
        newest = max((p.chosen_at for p in train.pairs.get(user, ())), default=float("-inf"))
        old = [p for p in pairs if not dealt.rule.holds_prompt(p.prompt) and p.chosen_at <= newest]
        if old:
            raise Leakage(f"a choice of {user} that is held out is no newer than one learned from")


def write_split(dealt: Split, path: Path) -> None:
    """Write rule, digests and sizes, for whoever repeats the run."""
    values = {
        "rule": asdict(dealt.rule),
        "digests": dealt.digests,
        "num_users": {name: len(part.pairs) for name, part in dealt.parts.items()},
        "num_pairs": {name: _count(part.pairs) for name, part in dealt.parts.items()},
        "num_short_users": dealt.num_short,
        "num_overlapping_pairs": dealt.num_overlapping,
    }
    path.write_text(json.dumps(values, indent=2) + "\n")


def prompt_weights(table: PairTable) -> dict[str, float]:
    """1 / number of pairs with this prompt, scaled to a mean of 1 over pairs.

    PickScore's `num_example_per_prompt`: a prompt that many chose for counts no more than others.
    """
    counts: dict[str, int] = {}
    for pairs in table.pairs.values():
        for pair in pairs:
            counts[pair.prompt] = counts.get(pair.prompt, 0) + 1
    scale = sum(counts.values()) / max(len(counts), 1)
    return {prompt: scale / count for prompt, count in counts.items()}


def _share(seed: int, kind: str, name: str) -> float:
    """A number in [0, 1) that belongs to a name."""
    digest = hashlib.sha256(f"{seed}:{kind}:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _by_time(pairs: Sequence[Pair], num_newest: int) -> tuple[list[Pair], list[Pair]]:
    """Older pairs and at least so many newer ones; pairs of one choice stay together."""
    ordered = sorted(pairs, key=_at)
    cut = len(ordered) - num_newest
    if cut == len(ordered):
        return ordered, []
    limit = ordered[cut].chosen_at
    return [p for p in ordered if p.chosen_at < limit], [p for p in ordered if p.chosen_at >= limit]


def _at(pair: Pair) -> float:
    return pair.chosen_at


def _apart_from(
    learned: set[int], part: Mapping[str, Sequence[Pair]]
) -> dict[str, tuple[Pair, ...]]:
    kept = {u: tuple(p for p in pairs if not images_of([p]) & learned) for u, pairs in part.items()}
    return {user: pairs for user, pairs in kept.items() if pairs}


def _names(part: PairTable, pairs: Sequence[Pair]) -> set[str]:
    """SHA-256 of all images in the pairs: two rows may be one image."""
    return {part.images[row] for row in images_of(pairs)}


def _count(part: Mapping[str, Sequence[Pair]]) -> int:
    return sum(map(len, part.values()))
