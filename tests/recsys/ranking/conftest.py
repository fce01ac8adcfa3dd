"""A fake engine that scores by shade, and a fake store."""

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from PIL import Image

from recsys.engine.queue import Scored
from recsys.images.decode import ImageLimits
from recsys.images.preprocess import to_unit_range
from recsys.ranking.candidates import Candidate
from recsys.ranking.loader import ImageLoader
from recsys.ranking.ranker import Ranker
from storage.errors import UnknownImage
from storage.records import Choice, History, StoredChoice

GIVE_UP_S = 60.0


def picture(shade: int) -> bytes:
    """Encode a small grey image; the fake engine scores it by its shade."""
    data = io.BytesIO()
    Image.new("RGB", (8, 6), (shade,) * 3).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def sent() -> Callable[..., Candidate]:
    """Make a candidate of the given shade, sent with its bytes."""
    return lambda name, shade, prompt="a cat": Candidate(name, prompt, image=picture(shade))


@pytest.fixture
def stored() -> Callable[[str, str], Candidate]:
    """Make a candidate that names a stored image."""
    return lambda name, digest: Candidate(name, "a cat", sha256=digest)


@dataclass
class FakeStore:
    """Choices and images in memory, counting what is read."""

    choices: list[Choice] = field(default_factory=list)
    images: dict[str, bytes] = field(default_factory=dict)
    limits: list[int | None] = field(default_factory=list)
    num_images_read: int = 0
    opted_out: set[str] = field(default_factory=set)

    def add(self, shade: int) -> str:
        digest = sha256(picture(shade)).hexdigest()
        self.images[digest] = picture(shade)
        return digest

    def choose(self, liked: str | None, *passed_over: str) -> None:
        when = datetime(2026, 1, 1, tzinfo=UTC)
        self.choices.append(Choice("ann", liked, passed_over, "a cat", when, "test"))

    def read(self, user_id: str, *, limit: int | None = None) -> History:
        self.limits.append(limit)
        mine = [each for each in self.choices if each.user_id == user_id]
        all_stored = [StoredChoice(n, n, each) for n, each in enumerate(mine, start=1)]
        return History(user_id, len(mine), tuple(all_stored[-limit if limit else 0 :]))

    def personalizes(self, user_id: str) -> bool:
        return user_id not in self.opted_out

    def revision(self, user_id: str) -> int:
        return sum(each.user_id == user_id for each in self.choices)

    def image(self, sha256: str) -> bytes:
        self.num_images_read += 1
        if sha256 not in self.images:
            raise UnknownImage(sha256)
        return self.images[sha256]


@dataclass
class FakeEngine:
    """Scores each candidate by its shade; loads the references as a cold user's would be."""

    model_version: str = "fake"
    num_forgotten: int = 7
    expected_wait_s: float = 0.0
    calls: list[dict[str, Any]] = field(default_factory=list)
    score_of: Callable[[float], float] = lambda shade: shade
    error: Exception | None = None

    load: Callable[..., Any] | None = None

    def version_of(self, audience: str) -> str:
        return f"{self.model_version} of {audience}" if audience else self.model_version

    async def score(
        self,
        user_key: str,
        revision: int,
        pairs: Sequence[Any],
        candidates: Sequence[Any],
        **options: Any,
    ) -> Scored:
        assert self.load is not None
        loaded = await self.load(pairs)
        call = {"user_key": user_key, "revision": revision, "pairs": pairs, "loaded": loaded}
        self.calls.append(call | {"candidates": candidates} | options)
        if self.error is not None:
            raise self.error
        shades = [float(to_unit_range(candidate.image).mean()) for candidate in candidates]
        return Scored(tuple(self.score_of(shade) for shade in shades), len(loaded))


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def store() -> FakeStore:
    return FakeStore()


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def make(engine: FakeEngine, store: FakeStore, clock: FakeClock) -> Iterator[Callable[..., Ranker]]:
    made: list[ImageLoader] = []

    def make_ranker(*, limits: ImageLimits | None = None, **options: Any) -> Ranker:
        images = ImageLoader(store, limits or ImageLimits())
        made.append(images)
        engine.load = images.references
        options = {
            "num_references": 2,
            "clock": clock,
            "personalizes": store.personalizes,
        } | options
        return Ranker(engine, store, images, **options)

    yield make_ranker
    for images in made:
        images.close()


@pytest.fixture
def ranker(make: Callable[..., Ranker]) -> Ranker:
    return make()
