"""Choices and images made of names, and what must hold of a storage whatever happened to it."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from storage.database import Database
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts
from storage.tables import ImageRow

BEGIN = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)


def image_of(name: str) -> tuple[ImageFacts, bytes]:
    data = f"image {name}".encode()
    return ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 4, 3, len(data)), data


@pytest.fixture
def an_image() -> Callable[[str], tuple[ImageFacts, bytes]]:
    """Facts and bytes that a name stands for."""
    return image_of


@pytest.fixture
def digest() -> Callable[[str], str]:
    """The SHA-256 of the image that a name stands for."""
    return lambda name: image_of(name)[0].sha256


@pytest.fixture
def choose() -> Callable[..., tuple[Choice, dict[str, tuple[ImageFacts, bytes]]]]:
    """A choice between images by name, with all of them, to be spread over `append`."""

    def choose(user_id: str = "ann", liked: str | None = "a", passed_over: tuple = ("b",), **more):
        images = [image_of(name) for name in (*passed_over, *([liked] if liked else []))]
        given = {facts.sha256: (facts, data) for facts, data in images}
        passed = tuple(facts.sha256 for facts, _ in images[: len(passed_over)])
        first = image_of(liked)[0].sha256 if liked else None
        known = {"prompt": "a hill", "chosen_at": BEGIN, "source": "test"} | more
        return Choice(user_id, first, passed, **known), given

    return choose


@pytest.fixture
def files_of() -> Callable[[HistoryStore], list[str]]:
    """Names of all files under a storage's blobs, unfinished ones too."""

    def files_of(store: HistoryStore) -> list[str]:
        folder = Path(store.blobs.url.removeprefix("file://"))
        return sorted(path.name for path in folder.rglob("*") if path.is_file())

    return files_of


@pytest.fixture
def whole(files_of) -> Callable[[HistoryStore], dict[str, list[Choice]]]:
    """Check all that must always hold, and return all choices by user."""

    def whole(store: HistoryStore) -> dict[str, list[Choice]]:
        histories = [store.read(user_id) for user_id in store.user_ids()]
        named = set()
        for history in histories:
            revisions = [stored.revision for stored in history.choices]
            assert revisions == list(range(1, history.revision + 1))
            for stored in history.choices:
                named |= {*stored.choice.passed_over, *filter(None, [stored.choice.liked])}
        with store.database.session() as session:
            assert set(session.scalars(select(ImageRow.sha256))) == named
        for sha256 in named:
            assert hashlib.sha256(store.image(sha256)).hexdigest() == sha256
        assert files_of(store) == sorted(named)
        return {each.user_id: [stored.choice for stored in each.choices] for each in histories}

    return whole


@pytest.fixture
def stores(store: HistoryStore, database_url: str) -> Iterator[Callable[[], HistoryStore]]:
    """Another door to the same storage, with connections of its own, as another process has."""
    with ExitStack() as opened:

        def another() -> HistoryStore:
            database = Database(database_url)
            opened.callback(database.dispose)
            return HistoryStore(database, store.blobs, store.keys)

        yield another


@pytest.fixture
def together() -> Callable[[list[Callable[[], Any]]], list[Any]]:
    """Do all of it at once, each in its own thread: answers in order, or the first error."""

    def together(works: list[Callable[[], Any]]) -> list[Any]:
        gate = threading.Barrier(len(works), timeout=60)

        def begin(work: Callable[[], Any]) -> Any:
            gate.wait()
            return work()

        with ThreadPoolExecutor(len(works)) as pool:
            return [each.result() for each in [pool.submit(begin, work) for work in works]]

    return together
