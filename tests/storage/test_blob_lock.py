"""An append cannot slip in between the look at the rows and the removal of the bytes."""

import threading


def test_an_append_waits_while_bytes_are_removed(store, stores, choose, whole, monkeypatch) -> None:
    store.append(*choose(liked="a", passed_over=()))
    item = choose(user_id="bob", liked="a", passed_over=())
    other = stores()
    errors: list[BaseException] = []

    def append() -> None:
        try:
            other.append(*item)
        except BaseException as error:
            errors.append(error)

    racer = threading.Thread(target=append)
    real = store.blobs.delete

    def slow(sha256: str) -> None:
        # `other` shares this blob store: its put must not be answered by bytes about to go.
        racer.start()
        racer.join(1)  # time to slip in; held out by the lock, it goes on after the erasure
        real(sha256)

    monkeypatch.setattr(store.blobs, "delete", slow)
    store.erase("ann")
    racer.join(60)
    assert not racer.is_alive()
    assert errors == []
    assert whole(store) == {"bob": [item[0]]}
