"""The index of a running server forgets who was erased, whoever erased them."""

import time

import pytest

from storage.database import Database
from storage.histories import HistoryStore

GIVE_UP_S = 60.0


def until(condition):
    end = time.monotonic() + GIVE_UP_S
    while not condition():
        assert time.monotonic() < end, "the index was not built anew"
        time.sleep(0.01)


@pytest.fixture
def index(live, calls, people, monkeypatch):
    """The server's own, with all five in its main part."""
    calls.find_similar_users("ann")
    index = live.service._served.model.similarity.index()
    monkeypatch.setattr(index, "_share", 0)  # of what is new
    index.sync()  # or the server's own look, whichever comes first
    until(lambda: "bob" in index._view.main.rows.names())
    return index


def erased_elsewhere(live, client):
    database = Database(live.store.database.url.render_as_string(hide_password=False))
    HistoryStore(database, live.store.blobs, live.store.keys).erase("bob", by="a test")
    database.dispose()


def erased_here(live, client):
    client.erase_user("bob")


@pytest.mark.parametrize("erase", [erased_elsewhere, erased_here])
def test_who_was_erased_leaves_memory_and_the_snapshot(live, client, index, tmp_path, erase):
    erase(live, client)
    until(lambda: "bob" not in index._view.main.rows.names())
    index.close()
    files = [path for path in (tmp_path / "index").rglob("*") if path.is_file()]
    assert any(path.name == "ids.npy" for path in files)
    assert not any(b"bob" in path.read_bytes() for path in files)
