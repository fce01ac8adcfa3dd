"""Stored choices as `fit` reads them: pairs by image row, and image tokens."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.history import Pair, ReferencePair, read_history, references_of
from recsys.images.reader import ImageReader
from recsys.scorer.model import PreferenceScorer
from storage.histories import HistoryStore

MAX_PAIRS = 64
"""The newest pairs of each user; a limit, so that no user dominates."""


@dataclass(frozen=True)
class UserPairs:
    """Pairs of some users, over one table of images.

    Attributes:
        user_ids: of each user who has any.
        histories: the pairs of each of them, oldest first.
        images: SHA-256 of each row.
    """

    user_ids: tuple[str, ...]
    histories: tuple[tuple[Pair, ...], ...]
    images: tuple[str, ...]


def read_user_pairs(store: HistoryStore, *, max_users: int, seed: int) -> UserPairs:
    """Read the pairs of users drawn at random.

    Args:
        store: where choices are.
        max_users: the most users to draw, at least 1.
        seed: of the draw.
    """
    rows: dict[str, int] = {}
    histories: dict[str, tuple[Pair, ...]] = {}
    for user_id in draw_users(store, max_users=max_users, seed=seed):
        pairs = references_of(read_history(store, user_id, MAX_PAIRS), MAX_PAIRS)
        if pairs:
            histories[user_id] = tuple(_rows(pair, rows) for pair in pairs)
    return UserPairs(tuple(histories), tuple(histories.values()), tuple(rows))


def draw_users(store: HistoryStore, *, max_users: int, seed: int) -> list[str]:
    """Draw users who may be learned from, uniformly at random (Vitter's algorithm R)."""
    rng, drawn, seen = random.Random(seed), list[str](), 0
    page = store.user_ids(learnable=True)
    while page:
        for user_id in page:
            seen += 1
            if len(drawn) < max_users:
                drawn.append(user_id)
            elif (place := rng.randrange(seen)) < max_users:
                drawn[place] = user_id
        page = store.user_ids(after=page[-1], learnable=True)
    return sorted(drawn)


def token_reader(
    scorer: PreferenceScorer,
    reader: ImageReader,
    images: Sequence[str],
    progress: Callable[[int], None] = lambda num_read: None,
) -> Callable[[Sequence[int]], Tensor]:
    """Return a function from rows to image tokens (N, T, D).

    Args:
        scorer: encodes the images.
        reader: reads the images.
        images: SHA-256 of each row.
        progress: called with the number of images of each call.
    """

    @torch.no_grad()
    def read(rows: Sequence[int]) -> Tensor:
        pixels = [reader.read(images[row]) for row in rows]
        tokens = scorer.image_features(pixels)
        progress(len(rows))
        return tokens

    return read


def _rows(pair: ReferencePair, rows: dict[str, int]) -> Pair:
    liked, disliked = (rows.setdefault(name, len(rows)) for name in (pair.liked, pair.disliked))
    return Pair(liked, disliked, pair.prompt)
