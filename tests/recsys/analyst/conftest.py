"""A small storage to look at: 24 users in three groups of taste; and a browser before the page."""

import importlib.util
import io
import os
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from recsys.clusters.build import build_clusters
from recsys.images.decode import inspect
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.model import PreferenceScorer
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.records import Choice, Signature
from storage.signatures import SignatureStore

_spec = importlib.util.spec_from_file_location("browsing", Path(__file__).with_name("browsing.py"))
browsing = importlib.util.module_from_spec(_spec)
sys.modules["browsing"] = browsing  # tests import it by its name
_spec.loader.exec_module(browsing)

WAITS_MS = 30_000
NUM_USERS = 24
NUM_CHOICES = 3
BEGUN_AT = datetime(2026, 1, 1, 12, tzinfo=UTC)
COLOURS = ((200, 60, 60), (60, 160, 90), (60, 90, 200))
NAMES = ("red", "green", "blue")


@pytest.fixture(scope="session")
def scorer(small_checkpoint: Path) -> PreferenceScorer:
    """The same, loaded."""
    return load_scorer(small_checkpoint)


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory, scorer: PreferenceScorer) -> Path:
    """A folder with a filled storage; nothing may be written to it."""
    folder = tmp_path_factory.mktemp("filled")
    database = Database(f"sqlite:///{folder}/recsys.db")
    upgrade(database)
    _fill(HistoryStore(database, BlobStore(f"file://{folder}/blobs")), scorer.model_version)
    build_clusters(database, scorer.model_version, method="kmeans", num_clusters=3)
    database.dispose()
    return folder


@pytest.fixture
def place(
    tmp_path: Path, small_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> pytest.MonkeyPatch:
    """A home without anything in it, and no setting from outside but the small scorer."""
    for name in [name for name in os.environ if name.upper().startswith("RECSYS_")]:
        monkeypatch.delenv(name)
    for name, value in environment(tmp_path, small_checkpoint).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


@pytest.fixture
def storage(tmp_path: Path, filled: Path) -> Path:
    """A copy of the filled storage, where the settings look for one."""
    shutil.copytree(filled, tmp_path, dirs_exist_ok=True)
    return tmp_path


def environment(folder: Path, checkpoint: Path) -> dict[str, str]:
    """Variables that lead to a storage in a folder."""
    return {
        "HOME": str(folder),
        "XDG_DATA_HOME": str(folder / "data"),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "XDG_CONFIG_HOME": str(folder / "config"),
        "RECSYS_DATABASE_URL": f"sqlite:///{folder}/recsys.db",
        "RECSYS_BLOB_URL": f"file://{folder}/blobs",
        "RECSYS_CHECKPOINT": str(checkpoint),
    }


def picture(group: int, seed: int) -> bytes:
    """A PNG in a group's colour with a pattern of its own."""
    rng = np.random.default_rng(seed)
    pixels = np.full((48, 48, 3), COLOURS[group], np.float64)
    pixels += rng.normal(scale=60, size=(6, 6, 1)).repeat(8, axis=0).repeat(8, axis=1)
    file = io.BytesIO()
    Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def user_name(number: int) -> str:
    """The id of the user of a number."""
    return f"user-{number:02}"


def _fill(store: HistoryStore, version: str) -> None:
    """Three groups; user 0 has chosen since the signature, the last one has none."""
    rng = np.random.default_rng(0)
    signatures = []
    for number in range(NUM_USERS):
        group = number % 3
        for turn in range(NUM_CHOICES):
            _choose(store, number, group, turn)
        vector = rng.normal(scale=0.1, size=8)
        vector[group] += 1
        unit = (vector / np.linalg.norm(vector)).astype(np.float32)
        signatures.append(Signature(user_name(number), version, NUM_CHOICES, unit))
    SignatureStore(store.database).put_many(signatures[:-1])
    _choose(store, 0, 0, NUM_CHOICES)


def _choose(store: HistoryStore, number: int, group: int, turn: int) -> None:
    # What one group likes another passes over, so that clusters differ in their opinions.
    images = [picture(each, 10 * each + turn) for each in (group, (group + 1) % 3)]
    facts = [inspect(data) for data in images]
    choice = Choice(
        user_id=user_name(number),
        liked=facts[0].sha256,
        passed_over=(facts[1].sha256,),
        prompt=f"a {NAMES[group]} house <{turn}>",
        chosen_at=BEGUN_AT + timedelta(days=number, minutes=turn),
        source="test",
    )
    new = {fact.sha256: (fact, data) for fact, data in zip(facts, images, strict=True)}
    store.append(choice, new)


@pytest.fixture(scope="module")
def site(tmp_path_factory, filled, small_checkpoint):
    """The page over the filled storage."""
    home = tmp_path_factory.mktemp("home")
    environment = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home),
        "XDG_CONFIG_HOME": str(home),
        "RECSYS_DATABASE_URL": f"sqlite:///{filled}/recsys.db",
        "RECSYS_BLOB_URL": f"file://{filled}/blobs",
        "RECSYS_CHECKPOINT": str(small_checkpoint),
    }
    with browsing.serving(environment, home / "log") as url:
        yield url


@pytest.fixture(scope="module")
def chromium():
    playwright = pytest.importorskip("playwright.sync_api", reason="not installed: playwright")
    with playwright.sync_playwright() as running:
        browser = running.chromium.launch(
            executable_path=browsing.chromium(), args=list(browsing.FLAGS)
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def window(chromium):
    """One window for all tests, so that the script of the page is loaded once."""
    window = chromium.new_page(viewport={"width": 1280, "height": 900})
    window.set_default_timeout(WAITS_MS)
    return window


@pytest.fixture
def visit(site, window):
    """Go to an address of the page and wait until all of it is there."""
    window.set_viewport_size({"width": 1280, "height": 900})

    def visit(query=""):
        window.goto(f"{site}/{query}")
        window.wait_for_function(browsing.READY)
        return window

    return visit
