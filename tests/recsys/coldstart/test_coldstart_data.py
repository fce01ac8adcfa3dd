"""Stored choices as a fit reads them: who is drawn, how many pairs of each, and the images."""

import io
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256

import numpy as np
import pytest
import torch
from PIL import Image

from recsys.coldstart_data import MAX_PAIRS, StoredPair, draw_users, read_people, token_reader
from storage.records import Choice, History, StoredChoice


@dataclass
class FakeStore:
    """Histories in memory, with user ids in small pages."""

    choices: dict[str, list[Choice]] = field(default_factory=dict)
    images: dict[str, bytes] = field(default_factory=dict)
    page: int = 7

    def user_ids(self, *, after: str = "") -> list[str]:
        return sorted(name for name in self.choices if name > after)[: self.page]

    def read(self, user_id: str, *, limit: int | None = None) -> History:
        stored = [StoredChoice(n, n, each) for n, each in enumerate(self.choices[user_id], start=1)]
        return History(user_id, len(stored), tuple(stored[-limit if limit else 0 :]))

    def image(self, digest: str) -> bytes:
        return self.images[digest]


@pytest.fixture(autouse=True)
def any_store(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake stands in for the store that annotations name."""
    import recsys.coldstart_data

    for function in ("read_people", "draw_users", "token_reader"):
        real = getattr(recsys.coldstart_data, function)
        assert callable(real)


def crowd(count: int) -> FakeStore:
    return FakeStore({f"u{n:04d}": [] for n in range(count)})


def digest(name: object) -> str:
    return sha256(str(name).encode()).hexdigest()


def chosen(user: str, liked: str | None, *passed_over: str, prompt: str = "a hill") -> Choice:
    names = tuple(map(digest, passed_over))
    first = digest(liked) if liked is not None else None
    return Choice(user, first, names, prompt, datetime(2026, 1, 1, tzinfo=UTC), "test")
