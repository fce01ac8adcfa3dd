"""Stored choices as learning what is borrowed needs them: pairs by image row, and image tokens."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from recsys.history import ReferencePair, references_of
from recsys.images.decode import decode
from recsys.scorer.model import PreferenceScorer
from storage.histories import HistoryStore

MAX_PAIRS = 64
"""Of one user: the newest, and no more, so that nobody speaks for all."""


@dataclass(frozen=True, slots=True)
class StoredPair:
    """A pair by rows of an image table.

    Attributes:
        liked, disliked: rows.
        prompt: what both were made from.
    """

    liked: int
    disliked: int
    prompt: str


@dataclass(frozen=True)
class People:
    """Some users' pairs over one table of images.

    Attributes:
        histories: of each user with a pair, oldest first.
        images: SHA-256 of each row.
    """

    histories: tuple[tuple[StoredPair, ...], ...]
    images: tuple[str, ...]


def read_people(store: HistoryStore, *, max_users: int, seed: int) -> People:
    """Read the pairs of at most so many users, drawn at random among all.

    Args:
        store: where choices are.
        max_users: at least 1.
        seed: of the draw.
    """
    rows: dict[str, int] = {}
    histories = []
    for user_id in draw_users(store, max_users=max_users, seed=seed):
        pairs = references_of(store.read(user_id, limit=MAX_PAIRS), MAX_PAIRS)
        if pairs:
            histories.append(tuple(_rows(pair, rows) for pair in pairs))
    return People(tuple(histories), tuple(rows))


def draw_users(store: HistoryStore, *, max_users: int, seed: int) -> list[str]:
    """Users at random, each as likely as any other, read page by page (Vitter's algorithm R)."""
    rng, drawn, seen = random.Random(seed), list[str](), 0
    page = store.user_ids()
    while page:
        for user_id in page:
            seen += 1
            if len(drawn) < max_users:
                drawn.append(user_id)
            elif (place := rng.randrange(seen)) < max_users:
                drawn[place] = user_id
        page = store.user_ids(after=page[-1])
    return sorted(drawn)


def token_reader(
    scorer: PreferenceScorer,
    store: HistoryStore,
    images: Sequence[str],
    tell: Callable[[int], None] = lambda num_read: None,
) -> Callable[[Sequence[int]], Tensor]:
    """Rows -> image tokens (N, T, D), read and encoded when asked for.

    Args:
        scorer: encodes.
        store: where the images are.
        images: SHA-256 of each row.
        tell: called with the number of images encoded.
    """

    @torch.no_grad()
    def read(rows: Sequence[int]) -> Tensor:
        pixels = [decode(store.image(images[row])).float() / 255 for row in rows]
        tokens = scorer.image_features(pixels)
        tell(len(rows))
        return tokens

    return read


def _rows(pair: ReferencePair, rows: dict[str, int]) -> StoredPair:
    liked, disliked = (rows.setdefault(name, len(rows)) for name in (pair.liked, pair.disliked))
    return StoredPair(liked, disliked, pair.prompt)
