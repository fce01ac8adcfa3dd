"""Who was erased stays away: under every key, for every writer, until somebody lets them back."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import select

from storage.errors import (
    AlreadyErased,
    IdentityKeyMissing,
    InvalidRecord,
    StorageUnavailable,
    UnknownUser,
    UserErased,
)
from storage.histories import HistoryStore
from storage.identity_keys import NO_KEYS, IdentityKeys
from storage.tables import TombstoneRow
from storage.tombstones import erasure_mark

OLD, NEW = "the key of last year", "the key of this year"


@pytest.fixture
def under(store):
    """The same storage under other keys, the current one first."""
    return lambda *keys: HistoryStore(store.database, store.blobs, IdentityKeys.of(keys))


@pytest.fixture
def tombstones(store):
    """What is written, as rows."""

    def tombstones() -> list[TombstoneRow]:
        with store.database.session() as session:
            return list(session.scalars(select(TombstoneRow)))

    return tombstones


def test_an_erased_user_is_not_stored_again(store, choose, whole) -> None:
    store.append_many([choose(request_id="r"), choose(user_id="bob")])
    store.erase("ann")
    before = whole(store)
    for again in (choose(request_id="r"), choose(liked="c")):
        with pytest.raises(UserErased, match="recsys users restore") as refused:
            store.append(*again)
        assert refused.value.user_ids == ("ann",)
    # A batch stands whole or not at all, and no bytes of it stay.
    with pytest.raises(UserErased):
        store.append_many([choose(user_id="cyd", liked="new"), choose(liked="c")])
    assert whole(store) == before


def test_all_who_were_erased_are_named(store, choose) -> None:
    users = [f"u{number}" for number in range(7)]
    store.append_many([choose(user_id=user) for user in users])
    for user in users[:5]:
        store.erase(user)
    with pytest.raises(UserErased, match="'u0', 'u1', 'u2' and 2 more") as refused:
        store.append_many([choose(user_id=user) for user in users])
    assert list(refused.value.user_ids) == users[:5]


def test_a_tombstone_names_nobody_and_tells_when_and_by_whom(store, choose, tombstones) -> None:
    store.append(*choose(user_id="4711"))
    began = datetime.now(UTC)
    store.erase("4711", by="a clerk")
    (row,) = tombstones()
    assert began <= row.erased_at <= datetime.now(UTC)
    assert (row.erased_by, len(row.digest), len(row.key_id)) == ("a clerk", 32, 16)
    assert b"4711" not in row.digest


def test_erased_twice_tells_when(store, choose) -> None:
    store.append(*choose())
    store.erase("ann", by="a clerk")
    when = f"{datetime.now(UTC):%Y-%m-%d}"
    with pytest.raises(
        AlreadyErased, match=rf"was erased on {when} .* by a clerk: there is nothing to erase"
    ):
        store.erase("ann")
    with pytest.raises(UnknownUser) as unknown:
        store.erase("bob")
    assert type(unknown.value) is UnknownUser


@pytest.mark.parametrize("by", ["b" * 257, "\x00", "\ud800"])
def test_by_whom_has_a_rule(store, choose, by: str) -> None:
    store.append(*choose())
    with pytest.raises(InvalidRecord, match="by must"):
        store.erase("ann", by=by)
    assert store.user("ann").num_choices == 1


def test_restored_they_begin_anew(store, choose, whole, tombstones) -> None:
    store.append(*choose())
    store.erase("ann", by="a clerk")
    (row,) = tombstones()
    lifted = store.restore("ann")
    assert (lifted.erased_at, lifted.erased_by) == (row.erased_at, "a clerk")
    assert tombstones() == []
    assert store.append(*choose()).stored.revision == 1
    store.erase("ann")
    with pytest.raises(UserErased):
        store.append(*choose())


def test_whoever_was_not_erased_cannot_be_restored(store, choose) -> None:
    store.append_many([choose(), choose(user_id="bob")])
    store.erase("bob")
    for user in ("ann", "nobody"):
        with pytest.raises(UnknownUser, match="was not erased"):
            store.restore(user)


def test_an_older_key_is_honoured_and_its_tombstones_move_to_the_current_one(
    under, choose, tombstones
) -> None:
    under(OLD).append_many([choose(), choose(user_id="bob"), choose(user_id="cyd")])
    for user in ("ann", "bob"):
        under(OLD).erase(user)
    both = under(NEW, OLD)
    both.erase("cyd")
    new_id, old_id = both.keys.key_ids
    with pytest.raises(UserErased):
        both.append(*choose())
    assert sorted(row.key_id for row in tombstones()) == sorted([new_id, new_id, old_id])
    with pytest.raises(AlreadyErased):
        both.erase("bob")
    both.restore("bob")
    # Nothing is left under the old key: it may be dropped.
    with pytest.raises(UserErased):
        under(NEW).append(*choose())
    under(NEW).append(*choose(user_id="bob"))


def test_without_a_key_nobody_is_let_in(under, store, choose, whole) -> None:
    under(OLD).append_many([choose(), choose(user_id="bob")])
    under(OLD).erase("ann")
    (old_id,) = IdentityKeys.of([OLD]).key_ids
    before = whole(store)
    for keys in ([], [NEW]):
        for user in ("ann", "bob", "new"):
            with pytest.raises(IdentityKeyMissing, match=rf"{old_id}.*identity_key"):
                under(*keys).append(*choose(user_id=user, liked="c"))
        with pytest.raises(IdentityKeyMissing, match=old_id):
            under(*keys).restore("ann")
    assert whole(store) == before
    # Whoever is to be forgotten is forgotten all the same.
    under(NEW).erase("bob")
    assert whole(store) == {}


def test_without_any_key_nobody_is_erased(store, choose, whole) -> None:
    store.append(*choose())
    keyless = HistoryStore(store.database, store.blobs, NO_KEYS)
    with pytest.raises(IdentityKeyMissing, match="set identity_key"):
        keyless.erase("ann")
    assert list(whole(store)) == ["ann"]
    keyless.append(*choose())  # nobody was erased, so no key is needed


def test_a_user_who_came_back_through_older_code_has_one_tombstone(
    under, choose, tombstones, monkeypatch
) -> None:
    under(OLD).append(*choose())
    under(OLD).erase("ann")
    with monkeypatch.context() as older:
        older.setattr("storage.appending.refuse_erased", lambda *_: None)
        under(NEW, OLD).append(*choose())
    under(NEW, OLD).erase("ann")
    assert [row.key_id for row in tombstones()] == list(IdentityKeys.of([NEW]).key_ids)


def test_the_mark_changes_with_each_erasure(store, choose) -> None:
    store.append_many([choose(user_id=user) for user in ("ann", "bob")])
    marks = [erasure_mark(store.database)]
    for change in (store.erase, store.restore):
        change("ann")
        marks.append(erasure_mark(store.database))
    store.erase("bob")
    marks.append(erasure_mark(store.database))
    assert len(set(marks)) == 3
    assert marks[0] == marks[2]  # nobody is kept out, as at first
    assert marks[0].newest_at is None
    assert marks[-1].newest_at.utcoffset().total_seconds() == 0


def test_a_refusal_stands_where_its_tombstone_cannot_be_moved(
    under, choose, tombstones, monkeypatch
) -> None:
    under(OLD).append(*choose())
    under(OLD).erase("ann")

    def fail(*_: object) -> None:
        raise StorageUnavailable("busy")

    monkeypatch.setattr("storage.histories.renew", fail)
    with pytest.raises(UserErased):
        under(NEW, OLD).append(*choose())


def test_digests_are_keyed_and_of_one_purpose() -> None:
    one, other = (IdentityKeys.of([key]).current for key in (OLD, NEW))
    digests = {each.digest(purpose, "7") for each in (one, other) for purpose in ("tombstone", "x")}
    assert len(digests) == 4
    assert one.key_id == IdentityKeys.of([f" {OLD}\n"]).current.key_id != other.key_id
    assert OLD not in repr(one)
    assert IdentityKeys.of([NEW, OLD, NEW]).key_ids == (other.key_id, one.key_id)


@pytest.mark.parametrize("keys", [["short"], [NEW, ""], ["", NEW], ["x" * 15]])
def test_a_key_that_could_be_guessed_is_refused(keys: list[str]) -> None:
    with pytest.raises(ValueError, match="at least 16 characters") as refused:
        IdentityKeys.of(keys)
    assert "short" not in str(refused.value)
