"""People in storage, a checkpoint that knows ten of them, and what adapting it to them gives."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from recsys.cli.main import cli
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import save_scorer
from recsys.scorer.trained_on import write_trained_on
from recsys.signatures.definition import Projection
from recsys.signatures.files import Probe, write_signature
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys
from training.data.samples import PairTable, read_pair_table
from training.data.trained_on import trained_on
from training.fitting.adapting.adaptation import Adaptation
from training.fitting.adapting.tuning import Tuning
from training.fitting.adapting.writing import Adapted
from training.fitting.pretraining.tiny_base import train_tokenizer
from training.world.creation import create_world

KEYS = IdentityKeys.of(["a key for the tests"])
OTHERS_KEYS = IdentityKeys.of(["the key of another storage"])
TUNING = Tuning(num_steps=4, seed=3)


def open_store(folder: Path) -> HistoryStore:
    """The storage in a folder, under this storage's key."""
    database = Database(f"sqlite:///{folder / 'recsys.db'}")
    upgrade(database)
    return HistoryStore(database, BlobStore(f"file://{folder / 'blobs'}"), KEYS)


def adapt_in_store(store: HistoryStore, parent: Path, folder: Path, **changes) -> Adapted:
    """Adapt as `recsys adapt` does, in a few steps, whether it helps or not."""
    both = IdentityKeys((*KEYS.keys, *OTHERS_KEYS.keys))
    seeing = HistoryStore(store.database, store.blobs, both)
    asked = {"tuning": TUNING, "writes_anyway": True, "blends": False, **changes}
    return Adaptation(parent, seeing, folder, Console(quiet=True), **asked).run()


@pytest.fixture(scope="session")
def own_keys() -> IdentityKeys:
    """Those of this storage."""
    return KEYS


@pytest.fixture(scope="session")
def others_keys() -> IdentityKeys:
    """Those that the parent tells people under."""
    return OTHERS_KEYS


@pytest.fixture(scope="session")
def tuning() -> Tuning:
    """Of all adaptations here, but for what a test changes."""
    return TUNING


@pytest.fixture(scope="session")
def store_in() -> Callable[[Path], HistoryStore]:
    """Given a folder: the storage in it."""
    return open_store


@pytest.fixture(scope="session")
def adapt() -> Callable[..., Adapted]:
    """Given storage, a parent, a folder and fields of `Adaptation`: what came of adapting."""
    return adapt_in_store


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with people in storage, who share images; ten more among images of their own."""
    folder = tmp_path_factory.mktemp("world")
    store = open_store(folder)
    for seed, num_users in ((5, 110), (6, 10)):
        create_world(
            store,
            num_users=num_users,
            seed=seed,
            truth_path=folder / "truth.npz",
            num_choices=10,
            num_prompts=40,
            images_per_prompt=4,
            size_px=32,
        )
    store.database.dispose()
    return folder


@pytest.fixture
def store(world: Path) -> Iterator[HistoryStore]:
    """The storage of the world."""
    store = open_store(world)
    yield store
    store.database.dispose()


@pytest.fixture(scope="session")
def make_parent(world: Path, make_scorer) -> Callable[..., Path]:
    """Given a name and fields of its config: a checkpoint in the world's folder.

    It has its base in it, probes, and a record under the key of another storage.
    """

    def make(name: str, **config: int) -> Path:
        folder, base = world / name, world / f"{name}-base"
        scorer = make_scorer(num_preference_tokens=3, **config)
        scorer.backbone.model.save_pretrained(base)
        store = open_store(world)
        table = read_pair_table(store)
        probes = [
            Probe(store.image(each), f"prompt {n}") for n, each in enumerate(table.images[:4])
        ]
        projection = Projection(np.zeros(4), np.ones(4), np.eye(4)[:, :2])
        save_scorer(
            scorer,
            folder,
            base=BaseModel("base"),
            tokenizer=train_tokenizer(["a fish", "two fish"], vocabulary=400),
            base_files=base,
            write_more=lambda work: write_signature(
                work, probes, {"scores": projection}, num_orders=1
            ),
        )
        pairs = {user: own for user, own in table.pairs.items() if user.startswith("s6-")}
        known = PairTable(pairs, table.images)
        write_trained_on(trained_on(known, parts={}, key=OTHERS_KEYS.current), folder)
        store.database.dispose()
        return folder

    return make


@pytest.fixture(scope="session")
def parent(make_parent: Callable[..., Path]) -> Path:
    """A checkpoint that reads two references."""
    return make_parent("parent", num_references=2)


@pytest.fixture(scope="session")
def parents_files(parent: Path) -> dict[str, tuple[bytes, int]]:
    """Bytes and mode of each file of the parent, before anything is adapted."""
    paths = {str(path.relative_to(parent)): path for path in parent.rglob("*") if path.is_file()}
    return {name: (path.read_bytes(), path.stat().st_mode) for name, path in paths.items()}


@pytest.fixture(scope="session")
def adapted(world: Path, parent: Path, parents_files: object) -> Adapted:
    """What came of one adaptation, in `adapted` beside its parent."""
    store = open_store(world)
    done = adapt_in_store(store, parent, world / "adapted")
    store.database.dispose()
    return done


@pytest.fixture
def run(world: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Given arguments of `recsys adapt`: its result, on the people of the world."""
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{world / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{world / 'blobs'}")
    monkeypatch.setenv("RECSYS_IDENTITY_KEY", "a key for the tests,the key of another storage")
    return lambda *arguments: CliRunner().invoke(cli, ["adapt", *arguments])
