"""Stored choices -> pairs over a table of images, and training samples drawn from them."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from recsys.history import Pair, select
from recsys.scorer.packing import Packed, pack
from recsys.scorer.template import Template
from storage.histories import HistoryStore


@dataclass(frozen=True)
class Sample:
    """What one user chose, split into what the model reads and what it is asked.

    Attributes:
        references: read in this order.
        pairs: to be told apart; share no image with the references.
    """

    references: tuple[Pair, ...]
    pairs: tuple[Pair, ...]


@dataclass(frozen=True, eq=False)
class PairTable:
    """Pairs of many users over one table of images.

    Attributes:
        pairs: by user id, oldest first.
        images: SHA-256 of each row of the table.
    """

    pairs: dict[str, tuple[Pair, ...]]
    images: tuple[str, ...]


def read_pair_table(store: HistoryStore, user_ids: Collection[str] | None = None) -> PairTable:
    """Read users' pairs from storage; each passed-over image forms a pair with the liked one.

    Args:
        store: where choices are.
        user_ids: whose; all users by default.

    Returns:
        The pairs of these users, but for those who do not want to be learned from.
    """
    rows: dict[str, int] = {}
    pairs: dict[str, tuple[Pair, ...]] = {}
    for user_id in learnable_user_ids(store):
        if user_ids is not None and user_id not in user_ids:
            continue
        choices = [stored.choice for stored in store.read(user_id).choices]
        pairs[user_id] = tuple(
            Pair(
                rows.setdefault(choice.liked, len(rows)),
                rows.setdefault(other, len(rows)),
                choice.prompt,
                choice.chosen_at.timestamp(),
                number,
                nth,
            )
            for number, choice in enumerate(choices)
            if choice.liked is not None
            for nth, other in enumerate(choice.passed_over)
        )
    return PairTable(pairs, tuple(rows))


def learnable_user_ids(store: HistoryStore) -> Iterator[str]:
    """Yield the id of every user who may be learned from, in order, a page at a time."""
    page = store.user_ids(learnable=True)
    while page:
        yield from page
        page = store.user_ids(after=page[-1], learnable=True)


def draw_sample(
    pairs: Sequence[Pair],
    rng: np.random.Generator,
    *,
    num_references: int,
    num_pairs: int,
) -> Sample:
    """Draw references of one user, and pairs to be told apart, in random order.

    References are selected as `recsys.history.select` has it, in a random order instead of the
    served one. The pairs share no image with them, not merely no row.

    Args:
        pairs: a user's pairs.
        rng: decides.
        num_references: at most so many references, 0 or more.
        num_pairs: at most so many pairs to be told apart, 0 or more.
    """
    order = rng.permutation(len(pairs)).tolist()
    references = select(pairs, num_references, order=order)
    seen = images_of(references)
    apart = [pairs[index] for index in order if not seen & images_of([pairs[index]])]
    return Sample(references, tuple(apart[:num_pairs]))


def in_random_order(sample: Sample, rng: np.random.Generator) -> Sample:
    """The same sample, of each reference the liked or the disliked image first, as drawn.

    A model that always reads the liked image first learns to tell the two by their place; in random
    order their labels are all that tells them apart.

    Args:
        sample: as drawn.
        rng: decides, a number a reference.
    """
    firsts = rng.random(len(sample.references)) < 0.5
    references = (
        replace(pair, liked_first=bool(first))
        for pair, first in zip(sample.references, firsts, strict=True)
    )
    return replace(sample, references=tuple(references))


def halves(
    pairs: Sequence[Pair], rng: np.random.Generator, *, num_references: int
) -> tuple[tuple[Pair, ...], tuple[Pair, ...]] | None:
    """Two sets of references of one user, equal in number, drawn at random.

    They share no choice, and no liked image is shown twice, for the two would be alike by it.

    Args:
        pairs: of one user.
        rng: decides.
        num_references: of each half at most.

    Returns:
        None for a user who has not two of each.
    """
    kept: list[Pair] = []
    seen: set[int] = set()
    for pair in select(pairs, len(pairs), order=rng.permutation(len(pairs)).tolist()):
        if len(kept) < 2 * num_references and pair.liked not in seen:
            kept.append(pair)
            seen |= images_of([pair])
    size = len(kept) // 2
    return None if size < 2 else (tuple(kept[:size]), tuple(kept[size : 2 * size]))


def images_of(pairs: Sequence[Pair]) -> set[int]:
    """Rows of all images in the pairs."""
    return {row for pair in pairs for row in (pair.liked, pair.disliked)}


def user_rng(seed: int, user_id: str) -> np.random.Generator:
    """Random numbers that belong to a user."""
    return np.random.default_rng([seed, *user_id.encode()])


def pack_samples(
    template: Template, samples: Sequence[Sample], *, num_preference_tokens: int
) -> tuple[Packed, Int[Tensor, " N"]]:
    """Lay out samples as packed rows: liked and disliked candidates alternate behind their prefix.

    Returns:
        The rows, with C = 2 × the most pairs of a sample (liked at even places), and the image
        table's row for each image in the order in which they stand.
    """
    prefixes = [
        template.prefix(
            [pair.prompt for pair in sample.references],
            liked_first=[pair.liked_first for pair in sample.references],
        )
        for sample in samples
    ]
    candidates = [
        [template.candidate(pair.prompt) for pair in sample.pairs for _ in range(2)]
        for sample in samples
    ]
    order = [
        row
        for sample in samples
        for rows in chain(
            (pair.in_reading_order for pair in sample.references),
            ((pair.liked, pair.disliked) for pair in sample.pairs),
        )
        for row in rows
    ]
    packed = pack(prefixes, candidates, first_position=num_preference_tokens)
    return packed, torch.tensor(order, dtype=torch.long)


def split_pairs(packed: Packed, logits: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (B, C, 2) of alternating candidates -> (liked, disliked), each (N, 2), row by row."""
    real = (packed.readouts >= 0)[:, 0::2]
    return logits[:, 0::2][real], logits[:, 1::2][real]
