"""Stored choices as a fit reads them: who is drawn, how many pairs of each, and the images."""

import io
from collections import Counter
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image

from recsys.coldstart.data import (
    Unreadable,
    UserPairs,
    draw_users,
    read_user_pairs,
    token_reader,
)
from recsys.coldstart.limits import MAX_PAIRS
from recsys.errors import ImageRefused
from recsys.history import Pair
from recsys.images.decode import ImageLimits
from recsys.images.reader import ImageReader
from storage.histories import HistoryStore
from storage.records import Choice, History, StoredChoice


class MemoryStore(HistoryStore):
    """Histories in memory, with user ids in small pages."""

    def __init__(self, *choices: Choice, users: int = 0) -> None:
        self.choices: dict[str, list[Choice]] = {f"u{n:04d}": [] for n in range(users)}
        for each in choices:
            self.choices.setdefault(each.user_id, []).append(each)
        self.images: dict[str, bytes] = {}
        self.not_learnable: set[str] = set()

    def user_ids(self, *, after: str = "", limit: int = 7, learnable: bool = False) -> list[str]:
        left_out = self.not_learnable if learnable else set()
        return sorted(name for name in self.choices if name > after and name not in left_out)[
            :limit
        ]

    def read(self, user_id: str, *, limit: int | None = None, **_: object) -> History:
        stored = [StoredChoice(n, n, each) for n, each in enumerate(self.choices[user_id], start=1)]
        return History(user_id, len(stored), tuple(stored[-limit if limit else 0 :]))

    def image(self, sha256: str) -> bytes:
        return self.images[sha256]


def digest(name: object) -> str:
    return sha256(str(name).encode()).hexdigest()


def chosen(user: str, liked: object, *passed_over: object, prompt: str = "a hill") -> Choice:
    passed = tuple(map(digest, passed_over))
    first = digest(liked) if liked is not None else None
    return Choice(user, first, passed, prompt, datetime(2026, 1, 1, tzinfo=UTC), "test")


def test_a_draw_is_of_different_users_and_repeatable() -> None:
    store = MemoryStore(users=50)
    drawn = draw_users(store, max_users=20, seed=3)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == 20
    assert drawn == draw_users(store, max_users=20, seed=3)
    assert drawn != draw_users(store, max_users=20, seed=4)


@pytest.mark.parametrize("num_users", [0, 1, 6, 7, 8, 14])
def test_a_draw_of_at_least_all_is_all(num_users: int) -> None:
    store = MemoryStore(users=num_users)
    everybody = [f"u{n:04d}" for n in range(num_users)]
    assert draw_users(store, max_users=14, seed=0) == everybody
    assert draw_users(store, max_users=max(1, num_users), seed=0) == everybody


def test_each_user_is_drawn_as_likely_as_any_other() -> None:
    store, num_draws = MemoryStore(users=30), 2000
    drawn = Counter(
        user for seed in range(num_draws) for user in draw_users(store, max_users=6, seed=seed)
    )
    expected = num_draws * 6 / 30
    assert len(drawn) == 30
    # Chi squared of 29 degrees of freedom, with the correction for a draw without replacement:
    # above 59 once in a thousand times.
    off = sum((count - expected) ** 2 / (expected * (1 - 6 / 30)) for count in drawn.values())
    assert off * 29 / 30 < 59


def test_those_who_do_not_lend_are_not_drawn() -> None:
    store = MemoryStore(users=50)
    odd = {f"u{n:04d}" for n in range(1, 50, 2)}
    assert set(draw_users(store, max_users=50, seed=0, lends=odd.__contains__)) == odd
    drawn = draw_users(store, max_users=10, seed=0, lends=odd.__contains__)
    assert len(drawn) == 10
    assert set(drawn) < odd


def test_users_pairs_are_rows_of_one_table() -> None:
    store = MemoryStore(
        chosen("ann", "a", "b", prompt="a cat"),
        chosen("ann", "b", "c"),
        chosen("bob", "c", "a"),
        chosen("likes only", "z"),
        chosen("passes only", None, "y"),
    )
    users = read_user_pairs(store, max_users=9, seed=0)
    assert users.images == (digest("a"), digest("b"), digest("c"))
    assert users.user_ids == ("ann", "bob")
    assert users.histories == (
        (Pair(0, 1, "a cat"), Pair(1, 2, "a hill")),
        (Pair(2, 0, "a hill"),),
    )


def test_nobody_gives_more_pairs_than_the_cap_and_those_are_the_newest() -> None:
    store = MemoryStore(
        *(chosen("ann", 2 * n, 2 * n + 1) for n in range(MAX_PAIRS + 5)),
        chosen("bob", "liked", *(f"passed {n}" for n in range(MAX_PAIRS + 5))),
    )
    ann, bob = read_user_pairs(store, max_users=2, seed=0).histories
    assert len(ann) == len(bob) == MAX_PAIRS
    images = read_user_pairs(store, max_users=2, seed=0).images
    assert images[ann[0].liked] == digest(2 * 5)
    assert images[ann[-1].disliked] == digest(2 * (MAX_PAIRS + 4) + 1)


def test_nobody_at_all() -> None:
    users = read_user_pairs(MemoryStore(), max_users=3, seed=0)
    assert (users.user_ids, users.histories, users.images) == ((), (), ())


def test_rows_are_read_as_the_model_sees_the_images(scorer) -> None:
    store, pixels, counts = MemoryStore(), {}, []
    for name in "abc":
        pixels[name] = np.random.default_rng(ord(name)).integers(0, 256, (12, 10, 3), np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels[name]).save(file, "PNG")
        store.images[digest(name)] = file.getvalue()
    reader = ImageReader(store, ImageLimits())
    read = token_reader(scorer, reader, [digest(name) for name in "abc"], counts.append)
    wanted = [torch.from_numpy(pixels[name]).permute(2, 0, 1).float() / 255 for name in "cab"]
    tokens = read([2, 0, 1])
    assert torch.allclose(tokens, scorer.image_features(wanted), atol=1e-6)
    assert not tokens.requires_grad
    assert counts == [3]


def test_an_image_that_cannot_be_read_is_counted_and_the_others_keep_their_places(scorer) -> None:
    store, names = MemoryStore(), [digest(name) for name in "abc"]
    for name in "ac":
        file = io.BytesIO()
        pixels = np.random.default_rng(ord(name)).integers(0, 256, (12, 10, 3), np.uint8)
        Image.fromarray(pixels).save(file, "PNG")
        store.images[digest(name)] = file.getvalue()
    store.images[digest("b")] = b"no image"
    reader, bad = ImageReader(store, ImageLimits()), Unreadable(most=1)
    tokens = token_reader(scorer, reader, names, unreadable=bad)([2, 1, 0])
    assert bad.rows == {1}
    assert not tokens[1].any()
    alone = token_reader(scorer, reader, names)([2, 0])
    assert torch.allclose(tokens[[0, 2]], alone, atol=1e-6)
    with pytest.raises(ImageRefused):
        token_reader(scorer, reader, names)([2, 1, 0])
    store.images[digest("c")] = b"no image"
    with pytest.raises(ImageRefused):
        token_reader(scorer, reader, names, unreadable=bad)([2, 1, 0])


def test_pairs_that_show_an_image_are_left_out_and_with_them_who_has_no_other() -> None:
    a, b, c = Pair(0, 1, ""), Pair(1, 2, ""), Pair(2, 0, "")
    users = UserPairs(("ann", "ben", "cyd"), ((a, b), (c,), (b,)), ("x", "y", "z"))
    left = users.without({0})
    assert (left.user_ids, left.histories) == (("ann", "cyd"), ((b,), (b,)))
    assert left.images == users.images


def test_pairs_are_looked_for_behind_choices_that_form_none() -> None:
    """As ranking and signatures do."""
    likes = [chosen("ann", f"liked {n}") for n in range(2 * MAX_PAIRS)]
    store = MemoryStore(chosen("ann", "old", "older"), *likes)
    assert [len(pairs) for pairs in read_user_pairs(store, max_users=1, seed=0).histories] == [1]


def test_who_is_not_learned_from_is_not_drawn() -> None:
    store = MemoryStore(chosen("ann", "a", "b"), chosen("bob", "c", "d"), chosen("cyd", "e", "f"))
    store.not_learnable = {"bob"}
    assert draw_users(store, max_users=10, seed=0) == ["ann", "cyd"]
    users = read_user_pairs(store, max_users=10, seed=0)
    assert set(users.images) == {digest(name) for name in "abef"}
