"""A step's users and their samples, drawn from (seed, step, part) alone."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float

from recsys.history import Pair
from training.data.samples import PairTable, Sample, draw_sample, in_random_order


@runtime_checkable
class Draws(Protocol):
    """What a step's samples are drawn by."""

    def draw(self, step: int, part: int) -> list[Sample]:
        """The samples of a part of a step."""
        ...


@dataclass(frozen=True, eq=False)
class Batches:
    """Draws samples for one stage.

    Attributes:
        table: what is learned from.
        users: those with enough pairs.
        num_users, num_pairs: users in a part of a step, pairs to be told apart of each.
        num_references: read for each user.
        fewer_references: share of samples with fewer.
        seed: decides.
        random_pair_order: read liked or disliked image of each reference first, as drawn.
        balances_users: draw users alike; else by their number of pairs, as if rows were drawn.
    """

    table: PairTable
    users: tuple[str, ...]
    num_users: int
    num_pairs: int
    num_references: int
    fewer_references: float
    seed: int
    random_pair_order: bool = False
    balances_users: bool = True

    def draw(self, step: int, part: int) -> list[Sample]:
        """One sample for each user drawn, references in a new order every time.

        Raises:
            ValueError: if all pairs of all users drawn are read as references, so that none is left
                to be told apart.
        """
        rng = np.random.default_rng([self.seed, 4, step, part])
        if self.balances_users:
            few = len(self.users) < self.num_users
            chosen = rng.choice(len(self.users), self.num_users, replace=few)
        else:
            chosen = rng.choice(len(self.users), self.num_users, p=self._share_of_pairs)
        samples = [self._sample(self.users[index], rng) for index in chosen]
        if not any(sample.pairs for sample in samples):
            raise ValueError(self._nothing_left([self.users[index] for index in chosen]))
        if not self.random_pair_order:
            return samples
        apart = np.random.default_rng([self.seed, 14, step, part])  # leaves the other draws alone
        return [in_random_order(sample, apart) for sample in samples]

    def draw_one(self, user: str, step: int) -> Sample:
        """One user's sample, drawn from (seed, step, user) alone: whoever else there is.

        It may be left without pairs, where all are read as references.
        """
        rng = np.random.default_rng([self.seed, 16, step, *user.encode()])
        sample = self._sample(user, rng)
        return in_random_order(sample, rng) if self.random_pair_order else sample

    @cached_property
    def _share_of_pairs(self) -> Float[np.ndarray, " U"]:
        counts = np.array([len(self.table.pairs[user]) for user in self.users], dtype=float)
        return np.asarray(counts / counts.sum())

    def _nothing_left(self, users: Sequence[str]) -> str:
        most = max(len(self.table.pairs[user]) for user in users)
        return (
            f"of {self.num_users} users drawn at least one must have pairs of other images than the"
            f" {self.num_references} references that are read, got users with at most {most} pairs,"
            " all read: import more choices of each user, or train with fewer references"
            " (`recsys train --set scorer.num_references=N`)"
        )

    def names(self, step: int, part: int) -> list[str]:
        """Users and images of a part, to be named where something is wrong with it."""
        images = self.table.images
        return [
            f"{images[pair.liked]} over {images[pair.disliked]}"
            for sample in self.draw(step, part)
            for pair in (*sample.references, *sample.pairs)
        ]

    def _sample(self, user: str, rng: np.random.Generator) -> Sample:
        fewer = rng.random() < self.fewer_references
        count = int(rng.integers(0, self.num_references)) if fewer else self.num_references
        pairs = self.table.pairs[user]
        return draw_sample(pairs, rng, num_references=count, num_pairs=self.num_pairs)


def batches(
    table: PairTable,
    *,
    num_users: int,
    num_pairs: int,
    num_references: int,
    fewer_references: float,
    seed: int,
    random_pair_order: bool = False,
    balances_users: bool = True,
) -> Batches:
    """Draw from every user who has two pairs that share no liked image.

    Args:
        table: what is learned from.
        num_users, num_pairs, num_references, fewer_references, seed, random_pair_order,
            balances_users: as in `Batches`.

    Raises:
        ValueError: if no user has two pairs that share no image.
    """
    users = tuple(
        user
        for user, pairs in sorted(table.pairs.items())
        if len({pair.liked for pair in pairs}) >= 2
    )
    if not users:
        raise ValueError(
            "at least one user must have two pairs with different liked images, got none: "
            "import more choices"
        )
    return Batches(
        table,
        users,
        num_users=num_users,
        num_pairs=num_pairs,
        num_references=num_references,
        fewer_references=fewer_references,
        seed=seed,
        random_pair_order=random_pair_order,
        balances_users=balances_users,
    )


def without_images(samples: Sequence[Sample], bad: set[int]) -> list[Sample]:
    """The samples without pairs that show an image which cannot be read."""

    def good(pairs: Sequence[Pair]) -> tuple[Pair, ...]:
        return tuple(p for p in pairs if not {p.liked, p.disliked} & bad)

    if not bad:
        return list(samples)
    return [Sample(good(sample.references), good(sample.pairs)) for sample in samples]


def without_rows(table: PairTable, bad: set[int]) -> PairTable:
    """A table without pairs that show an image which cannot be read."""
    pairs: Mapping[str, tuple[Pair, ...]] = {
        user: tuple(p for p in own if not {p.liked, p.disliked} & bad)
        for user, own in table.pairs.items()
    }
    return replace(table, pairs=dict(pairs))
