"""Ended half-way, by an error or by force: what was answered stands whole, the rest never was."""

import subprocess
import sys
from pathlib import Path

import pytest

WRITER = """
import hashlib, sys
from datetime import UTC, datetime
from storage.blobs import BlobStore
from storage.database import Database
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts

store = HistoryStore(Database(sys.argv[1]), BlobStore(sys.argv[2]))
for number in range(1_000_000):
    items = []
    for user in ("ann", "bob"):
        data = f"{user} {number}".encode() * 1000
        facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 4, 3, len(data))
        choice = Choice(user, facts.sha256, (), "", datetime.now(UTC), "test", str(number))
        items.append((choice, {facts.sha256: (facts, data)}))
    print(max(answer.stored.revision for answer in store.append_many(items)), flush=True)
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_crash_between_bytes_and_row(store, choose, whole, monkeypatch, when: str) -> None:
    store.append(*choose())
    before = whole(store)
    item = choose(liked="new", passed_over=("newer",), request_id="r")
    put = store.blobs.put

    def crash(data: bytes) -> str:
        if when == "after":
            put(data)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store.blobs, "put", crash)
        with pytest.raises(KeyboardInterrupt):
            store.append(*item)
    assert store.revision("ann") == 1
    assert not store.append(*item).repeated
    assert whole(store) == {"ann": [*before["ann"], item[0]]}


@pytest.mark.parametrize("num_answers", [1, 17])
def test_a_writer_that_is_killed_loses_no_answered_choice(
    store, database_url: str, tmp_path: Path, num_answers: int
) -> None:
    command = [sys.executable, "-c", WRITER, database_url, store.blobs.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            answers = [int(writer.stdout.readline()) for _ in range(num_answers)]
        finally:
            writer.kill()
        answers += [int(line) for line in writer.stdout.read().split()]
    assert answers == list(range(1, len(answers) + 1))
    # Killed after it stored and before it said so, there is one more; and both have it or neither.
    num_stored = store.revision("ann")
    assert num_stored in (answers[-1], answers[-1] + 1)
    for user in ("ann", "bob"):
        history = store.read(user)
        assert [stored.revision for stored in history.choices] == list(range(1, num_stored + 1))
        for number, stored in enumerate(history.choices):
            assert store.image(stored.choice.liked) == f"{user} {number}".encode() * 1000
