"""What the data side delivers is counted as it comes, and only while it is measured."""

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from recsys.image_tokens.cache import ImageTokenCache
from recsys.image_tokens.folder import TokenFolder
from recsys.images.decode import ImageLimits
from recsys.images.preprocess import ImageGeometry
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from training.data import rates
from training.data.rates import decoding_rate, token_rate

GEOMETRY = ImageGeometry(square_px=8)


@pytest.fixture
def store(tmp_path: Path):
    database = Database(f"sqlite:///{tmp_path / 'recsys.db'}")
    upgrade(database)
    yield HistoryStore(database, BlobStore(f"file://{tmp_path / 'blobs'}"))
    database.dispose()


def put(store: HistoryStore, count: int) -> list[str]:
    names = []
    for value in range(count):
        file = io.BytesIO()
        Image.fromarray(np.full((8, 8, 3), value, dtype=np.uint8)).save(file, "PNG")
        names.append(store.blobs.put(file.getvalue()))
    return names


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_what_was_read_while_workers_started_does_not_count(store, num_workers) -> None:
    batches = [[name] for name in put(store, 10)]
    rate = decoding_rate(
        store, batches, limits=ImageLimits(), geometry=GEOMETRY, num_workers=num_workers
    )
    assert (rate.source, rate.num_workers) == ("decoding", num_workers)
    assert rate.num_images == 10 - (2 * num_workers + 1)
    assert rate.images_per_s > 0


def test_measuring_ends_in_time(store, monkeypatch) -> None:
    seconds = iter(range(100))
    monkeypatch.setattr(rates.time, "perf_counter", lambda: float(next(seconds)))
    batches = [put(store, 3)] * 90
    rate = decoding_rate(
        store, batches, limits=ImageLimits(), geometry=GEOMETRY, num_workers=0, most_s=4.0
    )
    assert rate.num_images == 5 * 3
    assert rate.images_per_s == 3


@pytest.mark.parametrize("on_disk", [True, False])
def test_images_without_tokens_do_not_count(tmp_path, on_disk) -> None:
    folder = TokenFolder(tmp_path, "version") if on_disk else None
    tokens = ImageTokenCache(2**20, folder=folder, stored=lambda names: names)
    names = [f"{number:064x}" for number in range(4)]
    for name in names[:3]:
        tokens.put(name, torch.ones(2, 3), since=0)
    tokens.flush()
    rate = token_rate(tokens, names)
    assert rate.source == ("tokens on disk" if on_disk else "tokens in memory")
    assert rate.num_images == 3
    assert rate.images_per_s > 0
    assert token_rate(tokens, []).images_per_s == 0.0
    tokens.close()
