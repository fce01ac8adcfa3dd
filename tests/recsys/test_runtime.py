"""The composition root: parts on demand, one of each, of the settings' storage and model."""

import asyncio
import io
import logging
import re
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recsys._loading import LoadedModel
from recsys.errors import CheckpointRefused, NotFound, PreconditionFailed, SettingsRefused
from recsys.history import ReferencePair
from recsys.ranking.candidates import Candidate, Ranking
from recsys.runtime import Runtime
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed
from recsys.scorer.model import PreferenceScorer
from recsys.settings import Settings
from storage.database import Database, upgrade
from storage.errors import SchemaMismatch, StorageUnavailable, UnknownImage
from storage.records import Choice


@dataclass(frozen=True)
class Prefix:
    num_references: int
    num_bytes: int = 10
    borrowed: Borrowed = NOTHING_BORROWED


class Scorer:
    model_version = "v1"

    def prefix(self, references):
        return Prefix(len(references))

    def score(self, prefix, candidates):
        return torch.full((len(candidates),), 0.5)


class Reader:
    model_version = "v1"

    def read(self, references):
        return np.ones(4, np.float32) / 2

    def read_many(self, users):
        return [self.read(each) for each in users]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Of an embedded storage that is not there yet."""
    return Settings(
        database_url=f"sqlite:///{tmp_path}/data/recsys.db",
        blob_url=f"file://{tmp_path}/blobs",
        index_folder=str(tmp_path / "index"),
        max_image_bytes=1000,
        max_image_pixels=100,
    )


def test_nothing_is_opened_before_it_is_asked_for(settings: Settings, tmp_path: Path) -> None:
    with Runtime(settings, creates=True, load=lambda _: pytest.fail("loaded")) as runtime:
        assert runtime.is_new
    assert list(tmp_path.iterdir()) == []


def test_a_new_storage_is_made_only_on_request(settings: Settings, tmp_path: Path) -> None:
    with Runtime(settings) as runtime:
        with pytest.raises(NotFound, match="nothing is stored yet: bring choices in"):
            _ = runtime.store
        assert list(tmp_path.iterdir()) == []
    with Runtime(settings, creates=True) as runtime:
        assert runtime.store.revision("ann") == 0
        assert not runtime.is_new
    with Runtime(settings) as runtime:
        assert runtime.store.revision("ann") == 0


def test_another_schema_is_refused_and_not_moved(settings: Settings) -> None:
    with Runtime(settings, creates=True) as runtime:
        upgrade(runtime.database, "0001")
        with runtime.database.writing() as session:
            session.connection().exec_driver_sql(
                "UPDATE alembic_version SET version_num = '0000_unknown'"
            )
        with pytest.raises(SchemaMismatch):
            _ = runtime.store


def test_a_part_is_built_once_and_all_share_one_database(settings: Settings) -> None:
    num_loads = []

    def load(runtime: Runtime) -> LoadedModel:
        num_loads.append(1)
        return LoadedModel(Scorer(), 3, signature_reader=Reader())

    with Runtime(settings, creates=True, load=load) as runtime:
        assert runtime.store is runtime.store
        assert runtime.store.database is runtime.database
        assert runtime.signatures is runtime.signatures
        assert runtime.signature_reader.model_version == runtime.model.scorer.model_version
    assert len(num_loads) == 1


def test_read_only_the_database_refuses_changes(settings: Settings) -> None:
    with Runtime(settings, creates=True) as runtime:
        assert runtime.store
    with (
        Runtime(settings, read_only=True) as runtime,
        pytest.raises(StorageUnavailable) as refused,
    ):
        runtime.store.erase("ann")
    assert "readonly" in str(refused.value.__cause__)


def test_limits_are_those_of_the_settings(settings: Settings) -> None:
    with Runtime(settings) as runtime:
        limits = runtime.image_limits
    assert (limits.max_bytes, limits.max_pixels) == (1000, 100)


def test_without_a_reader_of_signatures_the_remedy_is_told(settings: Settings) -> None:
    with (
        Runtime(settings, creates=True, load=lambda _: LoadedModel(Scorer(), 3)) as runtime,
        pytest.raises(CheckpointRefused, match="ships none: name another one with --checkpoint"),
    ):
        runtime.current_signatures()


def test_snapshots_are_kept_where_the_settings_say_or_not_at_all(settings: Settings) -> None:
    folder = Path(settings.index_folder)
    with Runtime(settings, creates=True) as runtime:
        assert runtime.index("v1", makes_folder=False).folder is None
        assert runtime.index("v1").folder == folder
        folder.mkdir(exist_ok=True)
        assert runtime.index("v1", makes_folder=False).folder == folder


def test_a_driver_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(self: Database, url: str, *, read_only: bool = False) -> None:
        raise ModuleNotFoundError("No module named 'psycopg'", name="psycopg")

    monkeypatch.setattr(Database, "__init__", missing)
    with (
        Runtime(Settings(database_url="postgresql://host/db")) as runtime,
        pytest.raises(PreconditionFailed, match=r"pip install 'recsys-images\[postgres\]'"),
    ):
        _ = runtime.database


def test_closed_its_threads_are_over(settings: Settings) -> None:
    runtime = Runtime(settings, creates=True, load=lambda _: LoadedModel(Scorer(), 3))
    assert runtime.read_references([]) == []
    assert asyncio.run(runtime.images.references([])) == []
    runtime.close()
    pair = ReferencePair("a" * 64, "b" * 64, "")
    with pytest.raises(RuntimeError, match="shutdown"):
        runtime.read_references([pair])
    with pytest.raises(RuntimeError, match="shutdown"):
        asyncio.run(runtime.images.references([pair]))


def test_a_ranking_does_not_wait_for_the_images_of_signatures(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    is_free = threading.Event()

    def slow(sha256: str) -> bytes:
        assert is_free.wait(60)
        raise UnknownImage(sha256)

    async def rank(runtime: Runtime) -> Ranking:
        engine = runtime.engine()
        await engine.start()
        candidate = Candidate("house", image=png(), prompt="a house")
        try:
            async with asyncio.timeout(20):
                return await runtime.ranker(engine).rank("ann", [candidate])
        finally:
            await engine.drain(0)

    pairs = [ReferencePair(f"{2 * n:064}", f"{2 * n + 1:064}", "") for n in range(8)]
    with (
        Runtime(settings, creates=True, load=lambda _: LoadedModel(Scorer(), 3)) as runtime,
        ThreadPoolExecutor(1) as caller,
    ):
        monkeypatch.setattr(runtime.store, "image", slow)
        references = caller.submit(runtime.read_references, pairs)
        try:
            ranking = asyncio.run(rank(runtime))
            assert not references.done()
        finally:
            is_free.set()
        assert ranking.candidates[0].rank == 1
        assert references.result(60) == []


def test_the_prefix_cache_is_sized_by_the_loaded_model(
    settings: Settings, small_checkpoint: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    values = {"checkpoint": str(small_checkpoint)}
    with Runtime(settings.model_copy(update=values), creates=True) as runtime:
        one = runtime.model.max_prefix_bytes
        assert one == runtime.scorer.max_prefix_bytes > 0
        runtime.engine()
        assert re.search(r"prefix cache: .* free on cpu, for \d+ or more users", caplog.text)
    for num_bytes in (0, one):
        values["prefix_cache_bytes"] = num_bytes
        with Runtime(settings.model_copy(update=values), creates=True) as runtime:
            runtime.engine()


def test_a_folder_for_image_tokens_that_cannot_be_is_refused_at_the_start(
    settings: Settings, small_checkpoint: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    values = {"checkpoint": str(small_checkpoint), "image_tokens_folder": str(tmp_path / "file")}
    with (
        Runtime(settings.model_copy(update=values), creates=True) as runtime,
        pytest.raises(SettingsRefused, match="image_tokens_folder must be one that"),
    ):
        runtime.engine()


def test_a_backfill_and_the_runs_after_it_encode_an_image_once(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two users of the same images, then another process under another readout of signatures."""
    encoded, encode = [], PreferenceScorer._encode

    def counting(self: PreferenceScorer, images: Sequence[torch.Tensor]) -> torch.Tensor:
        encoded.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(PreferenceScorer, "_encode", counting)
    values = {"image_tokens_folder": str(tmp_path / "tokens"), "max_image_bytes": 10**6}
    vectors = []
    for _ in range(2):
        with Runtime(settings.model_copy(update=values), creates=True) as runtime:
            if not runtime.store.user_ids():
                for user in ("ann", "bob"):
                    choose(runtime, user)
            assert runtime.signature_reader
            encoded.clear()  # the probes'
            assert runtime.backfill().run().num_done == 2
            version = runtime.signature_reader.model_version
            found = [runtime.signatures.get(user, version) for user in ("ann", "bob")]
            vectors += [each.vector for each in found if each is not None]
            assert sum(encoded) == (0 if len(vectors) > 2 else 2)
        with Runtime(settings) as runtime, runtime.database.writing() as session:
            session.connection().exec_driver_sql("DELETE FROM signatures")
    assert all(np.allclose(vectors[0], vector, atol=1e-6) for vector in vectors)
    assert len(vectors) == 4


def choose(runtime: Runtime, user: str) -> None:
    """Record that a user liked the red picture and passed the blue one over."""
    images = {}
    for colour in ("red", "blue"):
        facts = runtime.inspect_image(png(colour))
        images[facts.sha256] = (facts, png(colour))
    liked, passed_over = images
    at = datetime(2026, 1, 1, tzinfo=UTC)
    choice = Choice(user, liked, (passed_over,), "a house", at, "test")
    runtime.store.append(choice, images)


def png(colour: str = "red") -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), colour).save(file, "PNG")
    return file.getvalue()
