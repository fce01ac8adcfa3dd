"""Killed while it writes, and two at once: a restart serves exactly what SQL says."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

from storage.signatures import SignatureStore

ROOT = Path(__file__).parents[4]

WRITER = """
import sys, numpy as np
from pathlib import Path
from recsys.similarity.index import SignatureIndex
from storage.database import Database
from storage.records import Signature
from storage.signatures import SignatureStore
url, folder, seed = sys.argv[1:]
store = SignatureStore(Database(url))
# With no share for what is new, each sync has the main part built anew and saved.
index = SignatureIndex(store, "v1", folder=Path(folder), exact_max=100, share=0)
rng = np.random.default_rng(int(seed))
print("ready", flush=True)
while True:
    vectors = rng.standard_normal((20, 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    users = [f"user {each:05d}" for each in rng.choice(300, 20, replace=False)]
    store.put_many([Signature(u, "v1", 2, v) for u, v in zip(users, vectors)])
    index.sync()
    index.close()
"""


def writer(store: SignatureStore, folder: Path, seed: int) -> subprocess.Popen:
    url = store.database.url.render_as_string(hide_password=False)
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, url, str(folder), str(seed)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert process.stdout.readline() == b"ready\n"
    return process


def test_killed_at_any_instant_and_two_at_once(
    signatures, folder, caplog, serves_what_sql_says
) -> None:
    rng = np.random.default_rng(1)
    for round_ in range(3):
        processes = [writer(signatures, folder, 10 * round_ + each) for each in range(2)]
        for process in processes:
            time.sleep(float(rng.uniform(0.05, 0.4)))
            process.send_signal(signal.SIGKILL)
            process.wait()
            process.stdout.close()
        serves_what_sql_says(signatures, folder)
    assert "building the index from SQL" not in caplog.text
    assert signatures.last_sequence("v1") > 300
