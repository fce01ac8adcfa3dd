"""`recsys evaluate` on a few people's choices in storage, with a small checkpoint."""

import hashlib
import io
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from recsys.cli.main import cli
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts

NUM_USERS, NUM_CHOICES = 4, 8
NUM_IMAGES = 2 * NUM_USERS * NUM_CHOICES
QUICK = ("--no-baselines", "--no-signatures", "--no-cold-start", "--json")


def drawn(number: int) -> tuple[ImageFacts, bytes]:
    pixels = np.random.default_rng(number).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    data = file.getvalue()
    return ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 8, 8, len(data)), data


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The command over the storage of some people, each of whom saw images of their own."""
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{tmp_path / 'blobs'}")
    database = Database(f"sqlite:///{tmp_path / 'recsys.db'}")
    upgrade(database)
    store = HistoryStore(database, BlobStore(f"file://{tmp_path / 'blobs'}"))
    start = datetime(2026, 1, 1, tzinfo=UTC)
    for choice in range(NUM_USERS * NUM_CHOICES):
        shown = [drawn(2 * choice + side) for side in range(2)]
        liked, disliked = (facts.sha256 for facts, _ in shown)
        user, at = f"u{choice % NUM_USERS}", start + timedelta(hours=choice)
        store.append(
            Choice(user, liked, (disliked,), f"a fish {choice}", at, "test"),
            {facts.sha256: (facts, data) for facts, data in shown},
        )
    database.dispose()

    def call(*arguments: object, **variables: object) -> Result:
        env = {name: str(value) for name, value in variables.items()}
        return CliRunner().invoke(cli, [str(each) for each in arguments], env=env)

    return call


def figures(result: Result) -> dict:
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    return {name: each for name, each in report.items() if name not in ("created_at", "checkpoint")}


def test_an_ablation_finds_its_base_where_the_settings_say(run, save_small, tmp_path: Path) -> None:
    checkpoint, other = save_small("full"), save_small("bare", seed=1)
    moved = (tmp_path / "base").rename(tmp_path / "moved")
    asked = ("evaluate", checkpoint, "--against", f"bare={other}", *QUICK)
    lost = run(*asked)
    assert lost.exit_code != 0
    assert "setting base" in lost.output
    (bare,) = figures(run(*asked, RECSYS_BASE=moved))["ablations"]
    assert bare["name"] == "bare"
    assert bare["top1"]["n_users"] == NUM_USERS


def test_an_ablation_that_is_not_there_is_told_before_anything_is_measured(
    run, save_small, encoded: list[int]
) -> None:
    result = run("evaluate", save_small("full"), "--against", "bare=nowhere", *QUICK)
    assert result.exit_code != 0
    assert "there is no checkpoint nowhere" in result.output
    assert encoded == []


def test_scorers_of_one_vision_tower_encode_an_image_once(
    run, save_small, encoded: list[int]
) -> None:
    checkpoint, other = save_small("full"), save_small("bare", seed=1)
    asked = ("evaluate", checkpoint, "--against", f"bare={other}", *QUICK)
    shared = figures(run(*asked))
    once = sum(encoded)
    encoded.clear()
    apart = figures(run(*asked, RECSYS_IMAGE_TOKENS_BYTES=0))
    assert shared == apart
    assert once <= NUM_IMAGES
    assert sum(encoded) > once
