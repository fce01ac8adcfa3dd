"""Many writers at once: nothing is lost, nothing is there twice, nobody waits for ever."""

import json
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest

from storage.errors import UnknownUser, UserErased
from storage.tombstones import bury

NUM_WRITERS = 20
NUM_EACH = 5

# One writer of its own process: waits for the others, then prints the revisions it was given.
WRITER = """
import hashlib, json, sys, time
from datetime import UTC, datetime
from pathlib import Path
from storage.blobs import BlobStore
from storage.database import Database
from storage.histories import HistoryStore
from storage.records import Choice, ImageFacts

database_url, blob_url, gate, name, num_each = sys.argv[1:]
store = HistoryStore(Database(database_url), BlobStore(blob_url))
data = b"image a"
facts = ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 4, 3, len(data))
Path(gate, name).touch()
while not Path(gate, "go").exists():
    time.sleep(0.001)
answers = []
for number in range(int(num_each)):
    choice = Choice("ann", facts.sha256, (), "", datetime.now(UTC), "test", f"{name} {number}")
    answers.append(store.append(choice, {facts.sha256: (facts, data)}).stored.revision)
print(json.dumps(answers))
"""


def test_twenty_writers_on_one_user_lose_and_duplicate_nothing(
    store, stores, together, choose, whole
) -> None:
    def write(store, writer: int) -> list[int]:
        return [
            store.append(*choose(liked=f"{writer} {number}", request_id=f"{writer} {number}"))
            for number in range(NUM_EACH)
        ]

    answers = together([partial(write, stores(), writer) for writer in range(NUM_WRITERS)])
    stored = [answer.stored for each in answers for answer in each]
    assert sorted(each.revision for each in stored) == list(range(1, NUM_WRITERS * NUM_EACH + 1))
    choices = {each.revision: each for each in store.read("ann").choices}
    assert choices == {each.revision: each for each in stored}
    assert len(whole(store)["ann"]) == NUM_WRITERS * NUM_EACH


def test_twenty_threads_share_one_database(store, together, choose, whole) -> None:
    together([partial(store.append, *choose(liked=str(writer))) for writer in range(NUM_WRITERS)])
    assert len(whole(store)["ann"]) == NUM_WRITERS


def test_processes_write_at_once(store, database_url, tmp_path: Path, whole) -> None:
    names = [f"writer{number}" for number in range(4)]
    common = [sys.executable, "-c", WRITER, database_url, store.blobs.url, str(tmp_path)]
    writers = [
        subprocess.Popen([*common, name, str(NUM_WRITERS)], stdout=subprocess.PIPE, text=True)
        for name in names
    ]
    try:
        while not all((tmp_path / name).exists() for name in names):
            assert all(writer.poll() is None for writer in writers)
        (tmp_path / "go").touch()
        printed = [writer.communicate()[0] for writer in writers]
    finally:
        for writer in writers:
            writer.kill()
            writer.wait()
    revisions = [revision for each in printed for revision in json.loads(each)]
    assert sorted(revisions) == list(range(1, len(names) * NUM_WRITERS + 1))
    assert len({choice.request_id for choice in whole(store)["ann"]}) == len(revisions)


def test_one_request_from_many_writers_is_stored_once(
    store, stores, together, choose, whole
) -> None:
    # Each sends other images: only those of the writer that came first may be stored.
    works = [
        partial(stores().append, *choose(liked=f"a{writer}", request_id="once"))
        for writer in range(NUM_WRITERS)
    ]
    answers = together(works)
    assert [answer.repeated for answer in answers].count(False) == 1
    assert {answer.stored for answer in answers} == set(store.read("ann").choices)
    assert len(whole(store)["ann"]) == 1


def test_batches_in_opposite_order_do_not_wait_in_a_circle(
    store, stores, together, choose, whole, monkeypatch
) -> None:
    # A statement for each user and image, as batches of thousands have many.
    monkeypatch.setattr("storage.appending._MAX_VALUES", 1)
    names = [f"{number:02}" for number in range(12)]

    def write(store, order: list[str]) -> None:
        for turn in range(3):
            items = [
                choose(user_id=f"user {name}", liked=f"{name} {turn}", passed_over=(f"b {name}",))
                for name in order
            ]
            store.append_many(items)

    orders = [names, names[::-1]] * 3
    together([partial(write, stores(), order) for order in orders])
    assert {user: len(choices) for user, choices in whole(store).items()} == {
        f"user {name}": 3 * len(orders) for name in names
    }


def test_strangers_who_send_the_same_images_do_not_wait_in_a_circle(
    store, stores, together, choose, whole, monkeypatch
) -> None:
    """Nothing but the images makes them wait for each other."""
    monkeypatch.setattr("storage.appending._MAX_VALUES", 1)
    names = [str(number) for number in range(30)]
    works = [
        partial(
            stores().append_many,
            [choose(user_id=f"user {writer}", liked=name, passed_over=()) for name in order],
        )
        for writer, order in enumerate([names, names[::-1]] * 3)
    ]
    together(works)
    assert {len(choices) for choices in whole(store).values()} == {30}


def test_erasures_race_with_appends_that_name_the_same_images(
    store, stores, together, choose, whole
) -> None:
    """A row never lacks its bytes, and no bytes stay that nobody names."""
    shared = tuple(f"shared {number}" for number in range(5))

    def add(store, user_id: str) -> None:
        for number in range(8):
            choice = choose(user_id=user_id, liked=f"{user_id} {number}", passed_over=shared)
            with suppress(UserErased):
                store.append(*choice)

    def erase(store, user_id: str) -> None:
        for _ in range(8):
            with suppress(UnknownUser):
                store.erase(user_id)
                store.restore(user_id)

    users = ["ann", "bob", "cyd"]
    together([partial(work, stores(), user) for user in users for work in (add, erase)])
    whole(store)
    for user in store.user_ids():
        store.erase(user)
    assert whole(store) == {}


def test_an_erasure_is_seen_whole_or_not_at_all(store, stores, together, choose) -> None:
    items = [choose(liked=f"a{number}", request_id=str(number)) for number in range(10)]

    def rewrite(store) -> None:
        for _ in range(10):
            store.append_many(items)
            store.erase("ann")
            store.restore("ann")

    def read(store) -> set[tuple[int, int]]:
        histories = [store.read("ann") for _ in range(60)]
        return {(history.revision, len(history.choices)) for history in histories}

    seen = together([partial(rewrite, stores()), *[partial(read, stores()) for _ in range(3)]])[1:]
    assert set().union(*seen) <= {(0, 0), (10, 10)}


@pytest.mark.parametrize("turn", range(3))
def test_the_same_person_erased_by_many_is_erased_once(
    store, stores, together, choose, whole, turn: int
) -> None:
    store.append(*choose())

    def erase(store) -> int:
        try:
            return store.erase("ann").num_choices
        except UnknownUser:
            return 0

    assert sorted(together([partial(erase, stores()) for _ in range(5)])) == [0, 0, 0, 0, 1]
    assert whole(store) == {}


@pytest.mark.parametrize("is_locked_by_blobs", [True, False])
def test_an_append_that_waits_for_an_erasure_sees_its_tombstone(
    store, stores, choose, whole, monkeypatch, is_locked_by_blobs: bool
) -> None:
    """It waits for the user's row, or already for blobs, and neither lets it in."""
    store.append(*choose())
    if not is_locked_by_blobs:
        for module in ("erasing", "histories"):
            monkeypatch.setattr(f"storage.{module}.lock_blobs", lambda *_, **__: None)
    is_held, may_end = threading.Event(), threading.Event()

    def pausing(*arguments: object, **options: object) -> None:
        bury(*arguments, **options)
        is_held.set()
        assert may_end.wait(60)

    monkeypatch.setattr("storage.histories.bury", pausing)
    with ThreadPoolExecutor(2) as pool:
        erasure = pool.submit(stores().erase, "ann")
        assert is_held.wait(60)
        append = pool.submit(stores().append, *choose(liked="late"))
        with pytest.raises(TimeoutError):
            append.result(0.3)
        may_end.set()
        assert erasure.result(60).num_choices == 1
        with pytest.raises(UserErased):
            append.result(60)
    assert whole(store) == {}


def test_whoever_wins_the_race_an_erased_user_is_gone(
    store, stores, together, choose, whole
) -> None:
    for turn in range(10):
        user = f"user {turn}"
        store.append(*choose(user_id=user))

        def append(store, user=user) -> None:
            with suppress(UserErased):
                for number in range(5):
                    store.append(*choose(user_id=user, liked=f"{number}"))

        together([partial(append, stores()), partial(stores().erase, user)])
    assert whole(store) == {}
