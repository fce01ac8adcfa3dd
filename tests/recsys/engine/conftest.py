"""A small fake scorer whose threads the tests hold and let go."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from recsys.engine.engine import ScoringEngine
from recsys.engine.queue import Scored
from recsys.errors import InvalidRequest
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed

GIVE_UP_S = 60.0  # a wait that long means that the test has failed


@dataclass(frozen=True)
class FakePrefix:
    references: tuple[Any, ...]
    num_bytes: int = 10
    borrowed: Borrowed = NOTHING_BORROWED

    @property
    def num_references(self) -> int:
        return len(self.references)


@dataclass
class FakeScorer:
    """Scores a float candidate as itself; "broken" ones raise. Open, it runs; closed, it waits."""

    model_version: str = "fake"
    is_broken: bool = False
    prefixes: list[tuple[Any, ...]] = field(default_factory=list)
    passes: list[tuple[Any, ...]] = field(default_factory=list)
    num_probes: int = 0
    is_open: threading.Event = field(default_factory=threading.Event)
    is_entered: threading.Event = field(default_factory=threading.Event)
    after_pass: Callable[[], None] = lambda: None

    def prefix(self, references: Sequence[Any]) -> FakePrefix:
        if getattr(references[0] if references else None, "prompt", None) != "a probe":
            self.prefixes.append(tuple(references))
            self._wait_until_open()
        return FakePrefix(tuple(references))

    def score(self, prefix: Any, candidates: Sequence[Any]) -> Tensor:
        if getattr(candidates[0], "prompt", None) == "a probe":
            self.num_probes += 1
            candidates = [0.5]
        else:
            self.passes.append(tuple(candidates))
            self._wait_until_open()
            self.after_pass()
        if self.is_broken or "broken" in candidates:
            raise RuntimeError("device lost")
        if "refused" in candidates:
            raise InvalidRequest("not this one")
        if "short" in candidates:
            return torch.zeros(len(candidates) - 1)
        return torch.tensor(candidates, dtype=torch.float64)

    def _wait_until_open(self) -> None:
        self.is_entered.set()
        assert self.is_open.wait(GIVE_UP_S)


class FakeClock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Loader(Sequence[str]):
    """Pairs of one user, counting how often their references are loaded; some cannot be read."""

    def __init__(
        self,
        *references: str,
        num_unreadable: int = 0,
        read: Callable[[], Sequence[Any]] | None = None,
    ) -> None:
        self.references = list(references)
        self.num_calls = 0
        self._num_unreadable = num_unreadable
        self._read = read

    def __len__(self) -> int:
        return len(self.references) + self._num_unreadable

    def __getitem__(self, place: Any) -> Any:
        return [*self.references, *["unreadable"] * self._num_unreadable][place]

    def read(self) -> Sequence[Any]:
        self.num_calls += 1
        return self.references if self._read is None else self._read()


async def load(pairs: Loader) -> Sequence[Any]:
    """What the engine is built with: reads in a thread, as the image loader does."""
    return await asyncio.to_thread(pairs.read)


Start = Callable[..., Awaitable[ScoringEngine]]


@pytest.fixture
def scorer() -> FakeScorer:
    scorer = FakeScorer()
    scorer.is_open.set()
    return scorer


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def make(scorer: FakeScorer, clock: FakeClock) -> AsyncIterator[Callable[..., ScoringEngine]]:
    made: list[ScoringEngine] = []

    def make_engine(**changes: Any) -> ScoringEngine:
        options = {
            "max_queue": 8,
            "prefix_cache_bytes": 1000,
            "probe_every_s": 3600.0,
            "clock": clock,
        }
        made.append(ScoringEngine(scorer, load, **(options | changes)))
        return made[-1]

    yield make_engine
    scorer.is_open.set()
    for engine in made:
        await engine.drain(GIVE_UP_S)


@pytest.fixture
async def start(make: Callable[..., ScoringEngine]) -> Start:
    async def start_engine(**changes: Any) -> ScoringEngine:
        engine = make(**changes)
        await engine.start()
        return engine

    return start_engine


@pytest.fixture
async def engine(start: Start) -> ScoringEngine:
    return await start()


class Desk:
    """Where requests are sent from."""

    give_up_s = GIVE_UP_S
    loader = Loader

    def __init__(self, scorer: FakeScorer) -> None:
        self._scorer = scorer

    def ask(
        self,
        engine: ScoringEngine,
        user: str,
        *candidates: Any,
        references: Loader | None = None,
        **options: Any,
    ) -> "asyncio.Task[Scored]":
        pairs = Loader("r") if references is None else references
        return asyncio.create_task(engine.score(user, 1, pairs, list(candidates), **options))

    async def until(self, is_true: Callable[[], bool]) -> None:
        """Give way to the others until it is so."""
        async with asyncio.timeout(GIVE_UP_S):
            while not is_true():
                await asyncio.sleep(0)

    async def hold(self, engine: ScoringEngine) -> "asyncio.Task[Scored]":
        """Send a request and leave the model standing in it, with nobody waiting."""
        self._scorer.is_open.clear()
        self._scorer.is_entered.clear()
        holder = self.ask(engine, "holder", 0.5)
        assert await asyncio.to_thread(self._scorer.is_entered.wait, GIVE_UP_S)
        return holder


@pytest.fixture
def desk(scorer: FakeScorer) -> Desk:
    return Desk(scorer)
