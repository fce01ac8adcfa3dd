"""Image tokens that are kept beyond a run: made once, as they are served."""

import io
from collections.abc import Collection
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from recsys.image_tokens.cache import ImageTokenCache
from recsys.image_tokens.folder import TokenFolder
from recsys.images.decode import ImageLimits
from recsys.scorer.adapter import LoraShape, add_adapter
from recsys.scorer.idefics2 import ADAPTER_TARGETS, Idefics2Backbone
from recsys.scorer.model import PreferenceScorer
from storage.histories import HistoryStore
from training.data import encoding, loading
from training.data.batches import Batches
from training.data.encoding import Fresh, Upcoming, encode_all
from training.data.samples import Pair, PairTable, Sample

LIMITS = ImageLimits()
NUM_IMAGES = 12


@pytest.fixture
def names(sqlite_store: HistoryStore) -> tuple[str, ...]:
    rng = np.random.default_rng(0)
    stored = []
    for _ in range(NUM_IMAGES):
        file = io.BytesIO()
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(file, "PNG")
        stored.append(sqlite_store.blobs.put(file.getvalue()))
    return tuple(stored)


@pytest.fixture
def scorer(make_scorer) -> PreferenceScorer:
    """With dropout on what makes image tokens, as the adapter of the large recipe has it."""
    made = make_scorer(num_references=2, num_preference_tokens=3)
    shape = LoraShape(rank=2, dropout=0.5)
    adapted = add_adapter(made.backbone.model, shape, family_targets=ADAPTER_TARGETS)
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    made.backbone = Idefics2Backbone(adapted)
    return made.requires_grad_(False).train()


@pytest.fixture
def work(monkeypatch) -> dict[str, int]:
    """How many images were decoded and encoded since it was last emptied."""
    counts = {"decoded": 0, "encoded": 0}
    encode, read = PreferenceScorer._encode, loading.read_images

    def encoding_them(self, images):
        counts["encoded"] += len(images)
        return encode(self, images)

    def reading(store, sha256s, **options):
        counts["decoded"] += len(sha256s)
        return read(store, sha256s, **options)

    monkeypatch.setattr(PreferenceScorer, "_encode", encoding_them)
    monkeypatch.setattr(loading, "read_images", reading)
    monkeypatch.setattr(encoding, "read_images", reading)
    return counts


@pytest.fixture
def opened(tmp_path: Path, names: tuple[str, ...]):
    """Open the folder anew, as another process does."""

    def among(sha256s: Collection[str]) -> set[str]:
        return set(sha256s) & set(names)

    def open_(max_bytes: int = 2**20) -> ImageTokenCache:
        folder = TokenFolder(tmp_path / "tokens", "v", max_bytes=2**20)
        return ImageTokenCache(max_bytes, folder=folder, stored=among)

    return open_


def test_images_are_encoded_once_for_all_runs(scorer, sqlite_store, names, work, opened) -> None:
    encode = partial(
        encode_all,
        scorer,
        sqlite_store,
        names,
        range(NUM_IMAGES),
        limits=LIMITS,
        console=Console(quiet=True),
    )
    tokens = opened()
    first = encode(tokens=tokens)
    tokens.close()
    assert work == {"decoded": NUM_IMAGES, "encoded": NUM_IMAGES}
    second = encode(tokens=opened())
    assert work == {"decoded": NUM_IMAGES, "encoded": NUM_IMAGES}
    assert torch.equal(second.table, first.table)
    assert second.bad == set()
    assert torch.allclose(encode().table, first.table, atol=1e-6)


def test_steps_of_a_frozen_tower_take_tokens_without_dropout(
    scorer, sqlite_store, names, work, opened
) -> None:
    samples = [Sample((Pair(0, 1, ""),), (Pair(2, 3, ""),)), Sample((), (Pair(2, 4, ""),))]
    tokens = opened()
    fresh = Fresh(scorer, sqlite_store, names, limits=LIMITS).of(scorer, tokens=lambda _: tokens)
    kept, encode = fresh.read(samples, (0, 0))
    assert kept == samples
    made = encode([0, 1, 2, 3, 4])
    assert scorer.backbone.image_modules[1].training  # as it was
    tokens.close()
    work.update(decoded=0, encoded=0)
    again = Fresh(scorer, sqlite_store, names, limits=LIMITS, tokens=opened())
    _, encode = again.read(samples, (7, 0))
    assert torch.equal(encode([0, 1, 2, 3, 4]), made)
    assert torch.equal(again.rows([4, 0]), made[[4, 0]])
    assert work == {"decoded": 0, "encoded": 0}
    assert again.find_bad([0, 1]) == set()
    anew = Fresh(scorer.eval(), sqlite_store, names, limits=LIMITS)
    assert torch.allclose(anew.rows([0, 1, 2, 3, 4]), made, atol=1e-6)


@pytest.mark.parametrize("room", [0, 2**20])
def test_workers_leave_out_what_is_kept_and_what_is_lost_since_is_read_again(
    scorer, sqlite_store, names, work, opened, room: int
) -> None:
    pairs = {"ann": tuple(Pair(2 * n, 2 * n + 1, "") for n in range(NUM_IMAGES // 2))}
    drawn = Batches(
        PairTable(pairs, names),
        ("ann",),
        num_users=1,
        num_pairs=2,
        num_references=2,
        fewer_references=0.0,
        seed=0,
    )
    tokens = opened(room)
    encoded = Fresh(scorer, sqlite_store, names, limits=LIMITS, tokens=tokens).rows(
        range(NUM_IMAGES)
    )
    tokens.flush()
    work.update(decoded=0, encoded=0)
    fresh = Fresh(scorer, sqlite_store, names, limits=LIMITS, tokens=opened(room))
    fresh.prepare(Upcoming(drawn, 3, range(1), num_workers=1))
    for step in range(3):
        samples = drawn.draw(step, 0)
        kept, encode = fresh.read(samples, (step, 0))
        rows = [row for pair in samples[0].pairs for row in (pair.liked, pair.disliked)]
        assert kept == samples
        if step == 2:
            continue
        assert torch.allclose(encode(rows), encoded[rows], atol=1e-6)
        if step == 1:
            assert work == {"decoded": 0, "encoded": 0}
            # Another process makes room: what workers have left out is not on disk any more.
            TokenFolder(tokens.folder.path).forget(names)
    work.update(decoded=0, encoded=0)
    assert torch.allclose(encode(rows), encoded[rows], atol=1e-6)
    assert (work["encoded"] > 0) == (room == 0)
