"""Users who were erased do not come back with the files that they once came in."""

import json

import pytest

from storage.errors import IdentityKeyMissing
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys
from storage.importers._writer import MAX_ROWS
from storage.importers.pairs import import_pairs
from storage.importers.ratings import import_ratings

KEYS = IdentityKeys.of(["a key for tests, known to all"])
REASON = "the user was erased"


@pytest.fixture
def store(store: HistoryStore) -> HistoryStore:
    """An empty storage that can tell who was erased."""
    return HistoryStore(store.database, store.blobs, KEYS)


@pytest.fixture
def pairs(tmp_path, picture, inspect):
    """Import one pair for each of these users, in their order."""

    def pairs(store: HistoryStore, users: list[str]):
        folder = tmp_path / "pairs"
        folder.mkdir(exist_ok=True)
        rows = []
        for number, user in enumerate(users):
            (folder / f"{user}.png").write_bytes(picture(user))
            (folder / "shared.png").write_bytes(picture("shared"))
            names = {"liked_image": f"{user}.png", "disliked_image": "shared.png"}
            rows.append({"user_id": user, "prompt": f"p{number}"} | names)
        lines = [json.dumps(row) for row in rows]
        (folder / "pairs.jsonl").write_text("\n".join(lines), "utf-8")
        return import_pairs(folder, store, inspect=inspect)

    return pairs


def test_rows_of_erased_users_are_left_out_and_counted(store, pairs, snapshot) -> None:
    users = [f"u{number % 7}" for number in range(2 * MAX_ROWS + 10)]
    assert pairs(store, users).num_stored == len(users)
    before = snapshot(store)
    for user in ("u2", "u5"):
        store.erase(user)
        del before[user]
    report = pairs(store, users)
    num_erased = sum(user in ("u2", "u5") for user in users)
    assert report.skipped == {REASON: num_erased}
    assert (report.num_stored, report.num_repeated) == (0, len(users) - num_erased)
    assert report.num_read == report.num_repeated + report.num_skipped
    assert report.examples[REASON] == [f"pairs.jsonl line {line}" for line in (3, 6, 10)]
    assert snapshot(store) == before


def test_a_file_of_erased_users_alone_stores_nothing(store, pairs) -> None:
    pairs(store, ["ann", "bob"])
    store.erase("ann")
    store.erase("bob")
    report = pairs(store, ["ann", "bob", "ann"])
    assert (report.num_stored, report.num_skipped) == (0, 3)
    assert store.user_ids() == []
    store.restore("bob")
    assert pairs(store, ["ann", "bob"]).num_stored == 1
    assert store.user_ids() == ["bob"]


def test_ratings_of_erased_users_count_by_rating(store, tmp_path, picture, inspect) -> None:
    folder = tmp_path / "ratings"
    (folder / "images").mkdir(parents=True)
    for name in "ab":
        (folder / "images" / f"{name}.png").write_bytes(picture(name))
    (folder / "items.csv").write_text("image_id,prompt\na,p\nb,p\n")
    rows = [
        f"{user},{image},{rate}" for user in ("ann", "bob") for image, rate in (("a", 5), ("b", 1))
    ]
    (folder / "ratings.csv").write_text("\n".join(["user_id,image_id,rating_1to5", *rows]) + "\n")
    first = import_ratings(folder, store, inspect=inspect)
    store.erase("ann")
    again = import_ratings(folder, store, inspect=inspect)
    assert first.num_stored == 2
    assert (again.num_read, again.num_repeated, again.skipped) == (4, 1, {REASON: 2})


def test_without_the_key_an_import_refuses_rather_than_let_them_back_in(store, pairs) -> None:
    pairs(store, ["ann", "bob"])
    store.erase("ann")
    keyless = HistoryStore(store.database, store.blobs)
    with pytest.raises(IdentityKeyMissing, match="identity_key"):
        pairs(keyless, ["ann", "cyd"])
    assert store.user_ids() == ["bob"]
