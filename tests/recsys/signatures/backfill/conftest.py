"""A reader that needs no model, and storage with people in it."""

import hashlib
from collections import Counter
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest

from recsys.signatures.backfill import Backfill
from storage.backfill_ledger import BackfillLedger, BackfillState
from storage.consents import ConsentStore
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts
from storage.signatures import SignatureStore

NOW = datetime(2026, 1, 2, tzinfo=UTC)
VERSION = "v1"


class Reader:
    """A vector that depends on the references alone; counts, and acts up when asked to."""

    model_version = VERSION

    def __init__(self) -> None:
        self.num_read: Counter[str] = Counter()
        self.batches: list[int] = []
        self.before: Callable[[str], None] = lambda _: None

    def read(self, references: Sequence[Any]) -> np.ndarray:
        prompt = references[-1].prompt
        self.num_read[prompt] += 1
        self.before(prompt)
        return vector_of(references)

    def read_many(self, users: Sequence[Sequence[Any]]) -> list[np.ndarray]:
        self.batches.append(len(users))
        return [self.read(each) for each in users]


def vector_of(references: Sequence[Any]) -> np.ndarray:
    seed = hashlib.sha256(repr([tuple(each) for each in references]).encode()).digest()
    vector = np.random.default_rng(list(seed)).normal(size=8)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def fail_for(*prompts: str, kind: type[Exception] = ValueError) -> Callable[[str], None]:
    def fail(prompt: str) -> None:
        if prompt in prompts:
            raise kind(f"no {prompt}")

    return fail


class World:
    """Storage with people in it, and runs over it."""

    def __init__(self, store: HistoryStore, reader: Reader) -> None:
        self.store = store
        self.signatures = SignatureStore(store.database)
        self.ledger = BackfillLedger(store.database)
        self.consents = ConsentStore(store.database)
        self.reader = reader

    def choose(self, *users: str, liked: str | None = "a") -> None:
        """Each names themselves in the prompt, by which a fake knows them."""
        images = [f"image {name}".encode() for name in (liked, "b") if name]
        facts = [
            ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 4, 3, len(data))
            for data in images
        ]
        given = {each.sha256: (each, data) for each, data in zip(facts, images, strict=True)}
        first = facts[0].sha256 if liked else None
        passed = (facts[-1].sha256,)
        self.store.append_many(
            [(Choice(each, first, passed, each, NOW, "test"), given) for each in users]
        )

    def backfill(self, **more: Any) -> Backfill:
        stores = (self.store, self.signatures, self.ledger)
        given = {
            "references": lambda pairs: pairs,
            "chunk_size": 3,
            "num_references": 2,
            "personalizes": self.consents.personalizes,
        } | more
        return Backfill(*stores, self.reader, **given)

    def revisions(self, *users: str) -> list[int | None]:
        signatures = [self.signatures.get(each, VERSION) for each in users]
        return [each.revision if each else None for each in signatures]

    def state(self, user_id: str) -> BackfillState:
        return self.ledger.entries(VERSION, [user_id])[user_id].state


@pytest.fixture
def reader() -> Reader:
    """Of the vectors of `vector_of`."""
    return Reader()


@pytest.fixture(name="vector_of")
def _vector_of() -> Callable[[Sequence[Any]], np.ndarray]:
    """The vector that a reader gives some references."""
    return vector_of


@pytest.fixture(name="fail_for")
def _fail_for() -> Callable[..., Callable[[str], None]]:
    """What makes a reader fail for some prompts: its `before`."""
    return fail_for


@pytest.fixture
def world(store: HistoryStore, reader: Reader) -> World:
    """Empty storage, and a reader with which to sign what will be in it."""
    return World(store, reader)
