"""Erase a person: what went is told, what others name stays, nothing of it is left behind."""

from collections.abc import Callable

import numpy as np
import pytest
from sqlalchemy import func, select

from storage.erasing import remove_blobs
from storage.errors import UnknownImage, UnknownUser
from storage.histories import HistoryStore
from storage.records import Erased, Signature
from storage.signatures import SignatureStore
from storage.tables import CompatibilityRow, Table


def sign(store: HistoryStore, user_id: str, *model_versions: str) -> None:
    for version in model_versions:
        vector = np.ones(4, dtype=np.float32)
        SignatureStore(store.database).put(Signature(user_id, version, 1, vector))


@pytest.fixture
def num_rows() -> Callable[[HistoryStore], dict[str, int]]:
    """Rows in each table, but for that which tells what code the schema serves."""

    def num_rows(store: HistoryStore) -> dict[str, int]:
        with store.database.session() as session:
            return {
                name: session.scalar(select(func.count()).select_from(table)) or 0
                for name, table in Table.metadata.tables.items()
                if name != CompatibilityRow.__tablename__
            }

    return num_rows


def test_what_went_is_told_and_what_others_name_stays(
    store, choose, an_image, whole, files_of
) -> None:
    store.append(*choose(liked="own", passed_over=("shared",)))
    store.append(*choose(liked="seen", passed_over=("own", "only passed")))
    store.append(*choose(liked=None, passed_over=("own",)))
    store.append(*choose(user_id="bob", liked="shared", passed_over=("seen",)))
    sign(store, "ann", "v1", "v2")
    sign(store, "bob", "v1")
    before = whole(store)
    gone = [an_image(name)[0] for name in ("own", "only passed")]
    assert store.erase("ann") == Erased(3, 2, 2, sum(facts.num_bytes for facts in gone))
    assert whole(store) == {"bob": before["bob"]}
    assert len(files_of(store)) == 2
    for facts in gone:
        with pytest.raises(UnknownImage):
            store.image(facts.sha256)
        with pytest.raises(UnknownImage):
            store.image_facts(facts.sha256)
    signatures = SignatureStore(store.database)
    assert [signatures.get("ann", version) for version in ("v1", "v2")] == [None, None]
    assert signatures.get("bob", "v1") is not None


def test_nothing_is_left_of_the_last_person(store, choose, num_rows, files_of) -> None:
    store.append_many([choose(liked=str(number), request_id=str(number)) for number in range(3)])
    sign(store, "ann", "v1")
    store.erase("ann")
    # The counter of a model version outlives its signatures, and neither it nor a tombstone names
    # anybody.
    left = {name for name, count in num_rows(store).items() if count}
    assert left == {"signature_counters", "tombstones"}
    assert files_of(store) == []
    assert store.read("ann").revision == 0
    with pytest.raises(UnknownUser):
        store.erase("ann")


def test_a_stranger_erases_nothing(store, choose, whole) -> None:
    store.append(*choose())
    before = whole(store)
    for stranger in ("bob", "Ann", "ann ", "a%"):
        with pytest.raises(UnknownUser):
            store.erase(stranger)
    assert whole(store) == before


def test_who_comes_again_begins_anew(store, choose, whole) -> None:
    first = store.append(*choose(request_id="r"))
    store.erase("ann")
    store.restore("ann")
    again = store.append(*choose(request_id="r"))
    assert not again.repeated
    assert again.stored.revision == 1
    # Else a page token from before the erasure would skip choices made after it.
    assert again.stored.choice_id > first.stored.choice_id
    whole(store)


def test_many_images_go(store, choose, files_of, num_rows) -> None:
    """Past every limit on values in one statement."""
    names = [str(number) for number in range(1201)]
    store.append_many([choose(liked=name, passed_over=()) for name in names])
    store.append(*choose(user_id="bob", liked="7", passed_over=("700",)))
    assert store.erase("ann").num_images == 1199
    assert len(files_of(store)) == num_rows(store)["images"] == 2


def test_a_crash_before_the_rows_go_loses_nothing(store, choose, whole, monkeypatch) -> None:
    store.append(*choose())
    before = whole(store)

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("storage.erasing.remove_unnamed", crash)
        with pytest.raises(KeyboardInterrupt):
            store.erase("ann")
    assert whole(store) == before


def test_a_crash_before_the_bytes_go_leaves_nothing_that_fails(
    store, choose, whole, num_rows, monkeypatch
) -> None:
    choice, images = choose()
    store.append(choice, images)

    def crash(*_: object) -> None:
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(store.blobs, "delete", crash)
        with pytest.raises(OSError, match="the disk is gone"):
            store.erase("ann")
    assert {name for name, count in num_rows(store).items() if count} == {"tombstones"}
    with pytest.raises(UnknownImage):
        store.image_facts(choice.liked)
    # The same images are taken up again, and go with their next owner.
    store.restore("ann")
    store.append(choice, images)
    assert whole(store) == {"ann": [choice]}
    store.erase("ann")
    assert whole(store) == {}


def test_an_image_named_again_between_the_two_halves_keeps_its_bytes(
    store, stores, choose, whole, monkeypatch
) -> None:
    """Rows have gone, bytes not yet, and somebody sends the same image."""
    store.append(*choose())
    bob = choose(user_id="bob")

    def append_first(*arguments: object) -> None:
        stores().append(*bob)
        remove_blobs(*arguments)

    monkeypatch.setattr("storage.histories.remove_blobs", append_first)
    assert store.erase("ann").num_images == 2
    assert whole(store) == {"bob": [bob[0]]}


def test_a_signature_put_while_its_user_is_erased(store, stores, together, choose) -> None:
    for turn in range(5):
        if turn:
            store.restore("ann")
        store.append(*choose())

        def put() -> None:
            try:
                sign(stores(), "ann", "v1")
            except UnknownUser:
                return

        together([put, lambda: store.erase("ann"), put])
        assert SignatureStore(store.database).get("ann", "v1") is None
