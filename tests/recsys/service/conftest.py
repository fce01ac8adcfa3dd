"""A real server on a loopback port, in a thread: fake scorer, real SQLite, real images."""

import asyncio
import io
import shutil
import threading
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
import torch
from PIL import Image
from torch import Tensor

from recsys._loading import LoadedModel
from recsys.client import RecsysClient
from recsys.images.preprocess import to_unit_range
from recsys.ranking.candidates import Candidate
from recsys.runtime import LoadModel, Runtime
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed
from recsys.service.app import Service
from recsys.settings import Settings
from storage.database import Database, upgrade
from storage.histories import HistoryStore

GIVE_UP_S = 60.0  # a wait that long means that the test has failed
NUM_REFERENCES = 2


@dataclass(frozen=True)
class FakePrefix:
    likes_bright: bool
    num_references: int
    num_bytes: int = 10
    borrowed: Borrowed = NOTHING_BORROWED


@dataclass
class FakeScorer:
    """Q is the brightness, or the darkness for who liked the darker image of their newest pair."""

    model_version: str = "fake-version"
    is_broken: bool = False
    is_open: threading.Event = field(default_factory=threading.Event)
    is_entered: threading.Event = field(default_factory=threading.Event)
    num_scored: int = 0

    def prefix(self, references: Sequence[Any]) -> FakePrefix:
        likes_bright = True
        if references:
            likes_bright = bool(references[-1].liked.sum() > references[-1].disliked.sum())
        return FakePrefix(likes_bright, len(references))

    def score(self, prefix: Any, candidates: Sequence[Any]) -> Tensor:
        if candidates[0].prompt != "a probe":
            self.is_entered.set()
            assert self.is_open.wait(GIVE_UP_S)
            self.num_scored += len(candidates)
        if self.is_broken:
            raise RuntimeError("device lost: /dev/secret0")
        bright = torch.stack([to_unit_range(each.image).mean() for each in candidates]) * 0.9 + 0.05
        return bright if prefix.likes_bright else 1 - bright


@dataclass
class Live:
    """A running service and its loop."""

    service: Service
    address: str
    store: HistoryStore
    scorer: FakeScorer
    loop: asyncio.AbstractEventLoop
    loaded: LoadedModel

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(GIVE_UP_S)

    def until(self, condition: Callable[[], bool]) -> None:
        """Turn the service's loop until something has happened there."""

        async def turn() -> None:
            async with asyncio.timeout(GIVE_UP_S):
                while not condition():
                    await asyncio.sleep(0)

        self.run(turn())

    def num_answered(self, method: str, code: str) -> float:
        """Calls of a method that ended with a code, as the metrics tell."""
        labels = {"method": method, "code": code}
        registry = self.service.metrics.registry
        return registry.get_sample_value("recsys_requests_total", labels) or 0.0

    def load(self) -> None:
        """Make `loaded` the service's model; returns when it serves."""
        self.run(self.service.load())

    @property
    def ranker(self) -> Any:
        return self.service._served.model.ranker

    @property
    def engine(self) -> Any:
        return self.service._served.model.engine


def picture(shade: int) -> bytes:
    """Encode a small grey image."""
    data = io.BytesIO()
    Image.new("RGB", (8, 6), (shade,) * 3).save(data, "PNG")
    return data.getvalue()


@pytest.fixture
def png() -> Callable[[int], bytes]:
    return picture


@pytest.fixture
def candidate() -> Callable[..., Candidate]:
    """Make a candidate of a shade, 0 (black) to 255 (white), sent with its bytes."""
    return lambda name, shade, prompt="a cat": Candidate(name, prompt, image=picture(shade))


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("schema") / "empty.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.dispose()
    return path


@pytest.fixture
def make_live(tmp_path: Path, empty_database: Path) -> Iterator[Callable[..., Live]]:
    """Start services with the settings given; they listen and have no model yet."""
    closers: list[Callable[[], None]] = []

    def make(
        *,
        health_every_s: float = 0.01,
        watch_every_s: float = 0.01,
        load: LoadModel | None = None,
        **values: Any,
    ) -> Live:
        path = tmp_path / f"recsys-{len(closers)}.db"
        shutil.copy(empty_database, path)
        runtime = Runtime(
            Settings(
                **{
                    "address": "127.0.0.1:0",
                    "database_url": f"sqlite:///{path}",
                    "blob_url": f"file://{tmp_path}/blobs",
                }
                | values
            ),
            load=load or (lambda _: live.loaded),
        )
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=loop.run_forever)
        thread.start()

        async def build() -> tuple[Service, str]:
            service = Service(runtime, health_every_s=health_every_s, watch_every_s=watch_every_s)
            return service, await service.start()

        service, address = asyncio.run_coroutine_threadsafe(build(), loop).result(GIVE_UP_S)
        scorer = FakeScorer()
        loaded = LoadedModel(scorer, NUM_REFERENCES)
        live = Live(service, address, runtime.store, scorer, loop, loaded)

        def close() -> None:
            live.scorer.is_open.set()
            live.run(service.drain(GIVE_UP_S))
            loop.call_soon_threadsafe(loop.stop)
            thread.join(GIVE_UP_S)
            loop.close()
            runtime.close()

        closers.append(close)
        live.scorer.is_open.set()
        return live

    yield make
    for close in closers:
        close()


@pytest.fixture
def live(make_live: Callable[..., Live]) -> Live:
    """A service with its model loaded."""
    made = make_live()
    made.load()
    return made


@pytest.fixture
def client(live: Live) -> Iterator[RecsysClient]:
    with RecsysClient(live.address, timeout_s=GIVE_UP_S) as made:
        yield made


@pytest.fixture
def channel(live: Live) -> Iterator[grpc.Channel]:
    """Without retries, to see what the server itself answers."""
    with plain_channel(live.address) as made:
        yield made


@pytest.fixture
def connect() -> Iterator[Callable[[str], grpc.Channel]]:
    channels: list[grpc.Channel] = []

    def make(address: str) -> grpc.Channel:
        channels.append(plain_channel(address))
        return channels[-1]

    yield make
    for made in channels:
        made.close()


class Calling:
    """A call of a function in a thread of its own; `result` waits for it."""

    def __init__(self, function: Callable[..., Any], *args: Any, **options: Any) -> None:
        self._answer: Future[Any] = Future()
        threading.Thread(target=self._run, args=(function, args, options)).start()

    def _run(self, function: Callable[..., Any], args: Any, options: Any) -> None:
        try:
            self._answer.set_result(function(*args, **options))
        except Exception as error:
            self._answer.set_exception(error)

    def result(self) -> Any:
        return self._answer.result(GIVE_UP_S)


@pytest.fixture
def calling() -> type[Calling]:
    return Calling


def plain_channel(address: str) -> grpc.Channel:
    options = [("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0)]
    return grpc.insecure_channel(address, options=options)
