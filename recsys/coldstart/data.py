"""Stored choices as `fit` reads them: pairs by image row, and image tokens."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from recsys.coldstart.limits import MAX_PAIRS
from recsys.errors import ImageRefused
from recsys.history import Pair, ReferencePair, read_history, references_of
from recsys.images.known import ModelImage
from recsys.images.reader import ImageReader
from recsys.scorer.model import PreferenceScorer
from storage.errors import UnknownImage
from storage.histories import HistoryStore


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

    def without(self, rows: Collection[int]) -> "UserPairs":
        """The same without pairs that show one of these images, and without who has no other."""
        left = {
            user_id: tuple(p for p in pairs if p.liked not in rows and p.disliked not in rows)
            for user_id, pairs in zip(self.user_ids, self.histories, strict=True)
        }
        left = {user_id: pairs for user_id, pairs in left.items() if pairs}
        return UserPairs(tuple(left), tuple(left.values()), self.images)


@dataclass
class Unreadable:
    """Images that cannot be read and are left out.

    Attributes:
        most: so many may be; the next one is an error.
        rows: those that were met.
    """

    most: int = 0
    rows: set[int] = field(default_factory=set)


Lends = Callable[[str], bool]
"""Whether a user, by their id, is learned from."""


def read_user_pairs(
    store: HistoryStore, *, max_users: int, seed: int, lends: Lends | None = None
) -> UserPairs:
    """Read the pairs of users drawn at random.

    Args:
        store: where choices are.
        max_users: the most users to draw, at least 1.
        seed: of the draw.
        lends: says who is drawn from; None: everybody.
    """
    rows: dict[str, int] = {}
    histories: dict[str, tuple[Pair, ...]] = {}
    for user_id in draw_users(store, max_users=max_users, seed=seed, lends=lends):
        pairs = references_of(read_history(store, user_id, MAX_PAIRS), MAX_PAIRS)
        if pairs:
            histories[user_id] = tuple(_rows(pair, rows) for pair in pairs)
    return UserPairs(tuple(histories), tuple(histories.values()), tuple(rows))


def draw_users(
    store: HistoryStore, *, max_users: int, seed: int, lends: Lends | None = None
) -> list[str]:
    """Draw users who may be learned from, uniformly at random (Vitter's algorithm R).

    Args:
        store, max_users, seed, lends: as of `read_user_pairs`.
    """
    rng, drawn, seen = random.Random(seed), list[str](), 0
    page = store.user_ids(learnable=True)
    while page:
        for user_id in filter(lends, page) if lends else page:
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
    *,
    unreadable: Unreadable | None = None,
) -> Callable[[Sequence[int]], Tensor]:
    """Return a function from rows to image tokens (N, T, D).

    Args:
        scorer: encodes the images.
        reader: reads the images.
        images: SHA-256 of each row.
        progress: called with the number of images of each call.
        unreadable: takes the images that cannot be read, whose tokens are 0 then; None: the first
            one is an error, ImageRefused or UnknownImage.
    """
    bad = Unreadable() if unreadable is None else unreadable

    @torch.no_grad()
    def read(rows: Sequence[int]) -> Tensor:
        found = [_read(reader, images, row, bad) for row in rows]
        tokens = scorer.image_features([image for image in found if image is not None])
        progress(len(rows))
        is_there = torch.tensor([image is not None for image in found], dtype=torch.bool)
        if is_there.all():
            return tokens
        padded = tokens.new_zeros(len(rows), *tokens.shape[1:])
        padded[is_there.to(tokens.device)] = tokens
        return padded

    return read


def _read(
    reader: ImageReader, images: Sequence[str], row: int, bad: Unreadable
) -> ModelImage | None:
    """An image; None: it cannot be read, and is counted."""
    try:
        return reader.read(images[row])
    except (ImageRefused, UnknownImage):
        bad.rows.add(row)
        if len(bad.rows) > bad.most:
            raise
        return None


def _rows(pair: ReferencePair, rows: dict[str, int]) -> Pair:
    liked, disliked = (rows.setdefault(name, len(rows)) for name in (pair.liked, pair.disliked))
    return Pair(liked, disliked, pair.prompt)
