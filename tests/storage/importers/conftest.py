"""Small files to import, and what storage holds afterwards."""

import csv
import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.errors import StorageFull
from storage.histories import HistoryStore
from storage.records import ImageFacts

Snapshot = dict[str, list[tuple]]
_PAIR_COLUMNS = ["user_id", "liked_image", "disliked_image", "prompt", "created_at"]


@pytest.fixture
def inspect() -> Callable[[bytes], ImageFacts]:
    """Take what begins like an image here; storage itself knows no formats."""

    def inspect(data: bytes) -> ImageFacts:
        if not data.startswith(b"image "):
            raise ValueError(f"must be an image, got {data[:8]!r}")
        return ImageFacts(hashlib.sha256(data).hexdigest(), "image/png", 8, 8, len(data))

    return inspect


@pytest.fixture
def sha() -> Callable[[str], str]:
    """The digest of the image that `picture` makes of a name."""
    return lambda name: hashlib.sha256(b"image " + name.encode()).hexdigest()


@pytest.fixture
def picture() -> Callable[[str], bytes]:
    """Bytes that `inspect` takes, others for each name."""
    return lambda name: b"image " + name.encode()


@pytest.fixture
def other_store(tmp_path: Path) -> Iterator[HistoryStore]:
    """A second storage to compare with."""
    database = Database(f"sqlite:///{tmp_path}/other/recsys.db")
    upgrade(database)
    yield HistoryStore(database, BlobStore(f"file://{tmp_path}/other/blobs"))
    database.dispose()


@pytest.fixture
def snapshot() -> Callable[[HistoryStore], Snapshot]:
    """All choices by user, in their order, all their images checked to be there."""

    def snapshot(store: HistoryStore) -> Snapshot:
        histories = {user_id: store.read(user_id) for user_id in store.user_ids()}
        result = {}
        for user_id, history in histories.items():
            choices = [stored.choice for stored in history.choices]
            assert [stored.revision for stored in history.choices] == list(
                range(1, history.revision + 1)
            )
            for choice in choices:
                for sha256 in (*choice.passed_over, *filter(None, [choice.liked])):
                    assert hashlib.sha256(store.image(sha256)).hexdigest() == sha256
            result[user_id] = [
                (
                    choice.liked,
                    choice.passed_over,
                    choice.prompt,
                    choice.chosen_at,
                    choice.source,
                    choice.request_id,
                )
                for choice in choices
            ]
        return result

    return snapshot


class FullAfter(HistoryStore):
    """A storage that has room for a number of transactions."""

    def __init__(self, store: HistoryStore, *, num_transactions: int) -> None:
        super().__init__(store.database, store.blobs)
        self._left = num_transactions

    def append_many(self, items, *, shareable=False):
        if self._left == 0:
            raise StorageFull("no room left")
        self._left -= 1
        return super().append_many(items, shareable=shareable)


@pytest.fixture
def full_after(store: HistoryStore) -> Callable[[int], HistoryStore]:
    """The storage of this test, with room for so many transactions."""
    return lambda num_transactions: FullAfter(store, num_transactions=num_transactions)


class Stopping:
    """Ctrl-C after a number of reports of progress; keeps what was reported."""

    def __init__(self, num_reports: int) -> None:
        self._left = num_reports
        self.seen: list[int] = []

    def __call__(self, num_rows: int) -> None:
        self.seen.append(num_rows)
        self._left -= 1
        if self._left == 0:
            raise KeyboardInterrupt


@pytest.fixture
def stopping() -> Callable[[int], Stopping]:
    """Progress that raises KeyboardInterrupt at the nth report."""
    return Stopping


@pytest.fixture
def store(tmp_path: Path) -> Iterator[HistoryStore]:
    """An empty storage."""
    database = Database(f"sqlite:///{tmp_path}/main/recsys.db")
    upgrade(database)
    yield HistoryStore(database, BlobStore(f"file://{tmp_path}/main/blobs"))
    database.dispose()


@pytest.fixture
def make(tmp_path: Path, picture: Callable[[str], bytes]) -> Callable[..., Path]:
    """Write a folder of pairs: user, liked, disliked."""

    def make(name: str, *rows: tuple[str, str, str]) -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for image in {each for _, *images in rows for each in images}:
            (folder / f"{image}.png").write_bytes(picture(image))
        with (folder / "pairs.csv").open("w", newline="") as file:
            lines = [(user, f"{a}.png", f"{b}.png", "p", "") for user, a, b in rows]
            csv.writer(file).writerows([_PAIR_COLUMNS, *lines])
        return folder

    return make


@pytest.fixture
def rated(tmp_path: Path, picture: Callable[[str], bytes]) -> Path:
    """A folder of ratings of one user, 5 to 1."""
    folder = tmp_path / "rated"
    (folder / "images").mkdir(parents=True)
    for name in "abcde":
        (folder / "images" / f"{name}.jpg").write_bytes(picture(name))
    with (folder / "items.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image_id", "prompt"), *((name, "p") for name in "abcde")])
    with (folder / "ratings.csv").open("w", newline="") as file:
        rows = [("7", name, 5 - nth) for nth, name in enumerate("abcde")]
        csv.writer(file).writerows([("user_id", "image_id", "rating_1to5"), *rows])
    return folder
