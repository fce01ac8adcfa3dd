"""A backfill killed at any instant, again and again, ends like one that was left alone."""

import hashlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from recsys.signatures.backfill import Backfill
from storage.backfill_ledger import BackfillLedger, BackfillState
from storage.blobs import BlobStore
from storage.database import Database
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts
from storage.signatures import SignatureStore

NUM_USERS = 60
CHUNK = 4
NUM_KILLS = 4
USERS = [f"u{number:03}" for number in range(NUM_USERS)]
BROKEN, WITHOUT_PAIR = USERS[::7], USERS[5::7]

KILLED_AGAIN_AND_AGAIN = """
import importlib.util, os, random, signal, sys, time
from pathlib import Path

database_url, blob_url, journal, path = sys.argv[1:]
spec = importlib.util.spec_from_file_location("t", path)
t = importlib.util.module_from_spec(spec)
spec.loader.exec_module(t)
rng, num_kills = random.Random(), 0


def num_tried():
    return len(Path(journal).read_text().split()) if Path(journal).exists() else 0


while True:
    tried = num_tried()
    child = os.fork()
    if child == 0:
        # No connection is shared with the parent: none was opened there.
        t.run(database_url, blob_url, Path(journal))
        os._exit(0)
    if num_kills < t.NUM_KILLS:
        until = tried + rng.randint(1, 2 * t.CHUNK + 1)
        while num_tried() < until:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.03))
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        assert status == 0, status
        break
    num_kills += 1
print(num_kills)
"""


class Reader:
    """Notes in a file whom it computes; some users it cannot."""

    model_version = "v1"

    def __init__(self, journal: Path) -> None:
        self._journal = journal

    def read(self, references: Sequence[Any]) -> np.ndarray:
        name = references[0].prompt
        with self._journal.open("a") as journal:
            journal.write(f"{name}\n")
        time.sleep(0.005)
        if name in BROKEN:
            raise ValueError("an image that no model likes")
        return vector_of(name)

    def read_many(self, users: Sequence[Sequence[Any]]) -> list[np.ndarray]:
        return [self.read(each) for each in users]


def vector_of(name: str) -> np.ndarray:
    vector = np.random.default_rng(int(name[1:])).normal(size=8)
    return (vector / np.linalg.norm(vector)).astype(np.float32)


def run(database_url: str, blob_url: str, journal: Path) -> None:
    """One whole backfill."""
    database = Database(database_url)
    store = HistoryStore(database, BlobStore(blob_url))
    Backfill(
        store,
        SignatureStore(database),
        BackfillLedger(database),
        Reader(journal),
        lambda pairs: pairs,
        chunk_size=CHUNK,
        personalizes=lambda _: True,
    ).run()
    database.dispose()


def people(store: HistoryStore) -> None:
    images = [f"image {number}".encode() for number in range(2)]
    facts = [
        ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 4, 3, len(data))
        for data in images
    ]
    given = {each.sha256: (each, data) for each, data in zip(facts, images, strict=True)}
    now = datetime(2026, 1, 2, tzinfo=UTC)
    liked, passed_over = (each.sha256 for each in facts)
    store.append_many(
        [
            (
                Choice(
                    name,
                    None if name in WITHOUT_PAIR else liked,
                    (passed_over,),
                    name,
                    now,
                    "test",
                ),
                given,
            )
            for name in USERS
        ]
    )


def test_kill_9_at_any_instant_loses_at_most_a_chunk(
    store: HistoryStore, database_url: str, tmp_path: Path
) -> None:
    """Real processes, killed wherever they are: reading, computing, storing."""
    people(store)
    journal = tmp_path / "journal"
    done = subprocess.run(
        [
            *(sys.executable, "-c", KILLED_AGAIN_AND_AGAIN),
            *(database_url, store.blobs.url, str(journal), __file__),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) == NUM_KILLS
    signatures, ledger = SignatureStore(store.database), BackfillLedger(store.database)
    entries = ledger.entries("v1", USERS)
    for name in USERS:
        stored = signatures.get(name, "v1")
        if name in BROKEN or name in WITHOUT_PAIR:
            assert stored is None
            expected = BackfillState.FAILED if name in BROKEN else BackfillState.SKIPPED
            assert entries[name].state == expected
        else:
            assert stored.revision == 1
            assert stored.vector.tolist() == vector_of(name).tolist()
    num_tries = Counter(journal.read_text().split())
    assert set(num_tries) == set(USERS) - set(WITHOUT_PAIR)
    assert sum(num_tries.values()) - len(num_tries) <= NUM_KILLS * CHUNK
    before = journal.read_text()
    run(database_url, store.blobs.url, journal)  # once more: nothing is left to do
    assert journal.read_text() == before
