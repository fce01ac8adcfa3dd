"""Signature vectors: they come back bit for bit, and an older one never hides a newer one."""

from functools import partial

import numpy as np
import pytest

from storage.errors import InvalidRecord, UnknownUser
from storage.pruning import Pruner, Retention
from storage.records import Signature
from storage.signatures import SignatureStore
from storage.takedowns import ImageTakedowns


@pytest.fixture
def signatures(store, choose) -> SignatureStore:
    """Of a storage in which ann is at revision 5."""
    store.append_many([choose() for _ in range(5)])
    return SignatureStore(store.database)


def of(revision: int, *values: float, user_id: str = "ann", version: str = "v1") -> Signature:
    return Signature(user_id, version, revision, np.array(values or [revision], dtype=np.float32))


def test_a_vector_comes_back_bit_for_bit(signatures) -> None:
    rng = np.random.default_rng(7)
    extreme = [0.0, -0.0, 1e-45, np.finfo(np.float32).max, np.finfo(np.float32).min]
    vector = np.concatenate([rng.normal(size=507), extreme]).astype(np.float32)
    signatures.put(Signature("ann", "v1", 3, vector))
    signature = signatures.get("ann", "v1")
    assert (signature.user_id, signature.model_version, signature.revision) == ("ann", "v1", 3)
    assert signature.vector.dtype == np.float32
    assert signature.vector.tobytes() == vector.tobytes()
    signature.vector[0] = 1  # the caller's own


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2"])
def test_other_layouts_are_stored_as_the_same_numbers(signatures, dtype: str) -> None:
    vector = np.arange(6, dtype=dtype)[::2]
    signatures.put(Signature("ann", "v1", 1, vector))
    assert signatures.get("ann", "v1").vector.tolist() == [0.0, 2.0, 4.0]


def test_the_newest_stands(signatures) -> None:
    for revision, stands in [(2, 2), (4, 4), (3, 4), (0, 4), (5, 5)]:
        signatures.put(of(revision))
        signature = signatures.get("ann", "v1")
        assert (signature.revision, signature.vector.tolist()) == (stands, [stands])
    # Computed again, as after a repair: the later word counts.
    signatures.put(of(5, 7.0))
    assert signatures.get("ann", "v1").vector.tolist() == [7.0]


def test_a_model_version_has_one_dimension(signatures, store, choose) -> None:
    store.append(*choose(user_id="bob"))
    with pytest.raises(InvalidRecord, match=r"must have shape \(2,\), got \(3,\)"):
        signatures.put_many([of(1, 1.0, 2.0), of(1, 1.0, 2.0, 3.0, user_id="bob")])
    assert signatures.count("v1") == 0
    signatures.put(of(1, 1.0, 2.0))
    last = signatures.last_sequence("v1")
    odd = of(1, 1.0, 2.0, 3.0, user_id="bob")
    for put in (signatures.put, lambda one: signatures.put_many([one])):
        with pytest.raises(InvalidRecord, match="must have shape"):
            put(odd)
    assert signatures.get("bob", "v1") is None
    assert signatures.last_sequence("v1") == last
    signatures.put(of(1, 1.0, 2.0, 3.0, user_id="bob", version="v2"))


def test_model_versions_and_users_stand_apart(signatures, store, choose) -> None:
    store.append(*choose(user_id="bob"))
    for user_id, version, value in [("ann", "v1", 1.0), ("ann", "v2", 2.0), ("bob", "v1", 3.0)]:
        signatures.put(of(1, value, user_id=user_id, version=version))
    assert signatures.get("ann", "v1").vector.tolist() == [1.0]
    assert signatures.get("ann", "v2").vector.tolist() == [2.0]
    assert signatures.get("bob", "v1").vector.tolist() == [3.0]
    assert signatures.get("bob", "v2") is None
    assert signatures.get("cyd", "v1") is None


def test_nobody_gets_no_signature(signatures) -> None:
    with pytest.raises(UnknownUser, match="'bob'"):
        signatures.put(of(0, user_id="bob"))


def test_an_erased_user_gets_none_from_before(signatures, store, choose) -> None:
    signatures.put(of(5))
    store.erase("ann")
    with pytest.raises(UnknownUser):
        signatures.put(of(5))
    store.restore("ann")
    store.append(*choose())
    assert signatures.get("ann", "v1") is None
    with pytest.raises(InvalidRecord, match="at revision 1, got a signature of 5"):
        signatures.put(of(5))
    assert signatures.get("ann", "v1") is None


@pytest.mark.parametrize(
    ("signature", "says"),
    [
        (of(6), "at revision 5, got a signature of 6"),
        (of(-1), "got a signature of -1"),
        (of(1, float("nan")), "finite"),
        (of(1, 1.0, float("inf")), "finite"),
        (Signature("ann", "v1", 1, np.zeros(0, dtype=np.float32)), "shape"),
        (Signature("ann", "v1", 1, np.zeros((2, 2), dtype=np.float32)), "shape"),
        (Signature("ann", "v1", 1, np.array([1e300])), "finite"),
        (of(1, version=""), "model_version must not be empty"),
        (of(1, version="v" * 65), "1 to 64"),
        (of(1, version="\x00"), "NUL"),
        (of(1, user_id="a" * 1000), "user_id must be"),
    ],
)
def test_signatures_that_are_refused(signatures, signature: Signature, says: str) -> None:
    with pytest.raises(InvalidRecord, match=says):
        signatures.put(signature)
    assert signatures.get("ann", "v1") is None


def test_whoever_races_the_newest_stands(signatures, stores, together) -> None:
    works = [
        partial(SignatureStore(stores().database).put, of(revision))
        for revision in [1, 5, 2, 4, 3, 5, 0, 1]
    ]
    together(works)
    assert signatures.get("ann", "v1").vector.tolist() == [5.0]


def test_a_reader_of_changes_sees_each_new_vector_once(signatures, store, choose) -> None:
    store.append_many([choose(user_id=user_id) for user_id in ("bob", "cyd")])
    assert signatures.last_sequence("v1") == 0
    assert len(signatures.changes("v1", after=0, limit=10)) == 0
    signatures.put(of(1, 1.0))
    assert signatures.put_many([of(1, 2.0, user_id="bob"), of(1, 3.0, user_id="cyd")]) == []
    first = signatures.changes("v1", after=0, limit=2)
    rest = signatures.changes("v1", after=int(first.sequences[-1]), limit=2)
    assert (first.user_ids, rest.user_ids) == (("ann", "bob"), ("cyd",))
    assert first.vectors.tolist() == [[1.0], [2.0]]
    signatures.put(of(2, 4.0))
    changed = signatures.changes("v1", after=int(rest.sequences[-1]), limit=10)
    assert (changed.user_ids, changed.revisions.tolist()) == (("ann",), [2])
    assert signatures.last_sequence("v1") == changed.sequences[-1]
    assert len(signatures.changes("v2", after=0, limit=10)) == 0


def test_a_sequence_is_never_given_twice(signatures, store, choose) -> None:
    signatures.put(of(5))
    last = signatures.last_sequence("v1")
    store.erase("ann")
    assert signatures.sequences("v1", ["ann"]) == {}
    assert signatures.last_sequence("v1") == last
    store.restore("ann")
    store.append(*choose())
    signatures.put(of(1))
    assert signatures.sequences("v1", ["ann", "bob"]) == {"ann": last + 1}


def test_many_are_put_but_for_those_who_are_gone(signatures, store, choose) -> None:
    store.append_many([choose(user_id=f"u{number:04}") for number in range(1200)])
    many = [of(1, number, user_id=f"u{number:04}") for number in range(1200)]
    store.erase("u0007")
    refused = signatures.put_many([*many, of(6, user_id="ann"), of(1, user_id="nobody")])
    assert refused == ["u0007", "ann", "nobody"]
    assert signatures.count("v1") == 1199
    assert signatures.get("u1199", "v1").vector.tolist() == [1199.0]
    assert len(signatures.sequences("v1", [each.user_id for each in many])) == 1199


def test_an_older_vector_among_many_does_not_stand(signatures, store, choose) -> None:
    store.append(*choose(user_id="bob"))
    signatures.put(of(5))
    assert signatures.put_many([of(3), of(1, user_id="bob")]) == []
    assert signatures.get("ann", "v1").vector.tolist() == [5.0]
    assert signatures.get("bob", "v1").vector.tolist() == [1.0]


@pytest.mark.parametrize("pair", [[of(1), of(2)], [of(1), of(1, user_id="b", version="v2")]])
def test_many_of_two_kinds_are_refused(signatures, pair) -> None:
    with pytest.raises(ValueError, match="one model version and of each user once"):
        signatures.put_many(pair)


def test_the_stale_are_those_with_news_and_those_without_a_vector(
    signatures, store, choose
) -> None:
    store.append_many([choose(user_id=user_id) for user_id in ("bob", "cyd")])
    signatures.put_many([of(5), of(1, user_id="cyd")])
    assert signatures.stale("v1") == [("bob", 1)]
    store.append(*choose())
    assert signatures.stale("v1") == [("ann", 6), ("bob", 1)]
    assert signatures.stale("v1", after="ann", limit=1) == [("bob", 1)]
    assert len(signatures.stale("v2")) == 3
    (summary,) = signatures.summaries()
    assert (summary.model_version, summary.num_signatures) == ("v1", 2)
    assert summary.newest_at is not None


def test_writers_that_race_leave_no_gap_that_a_reader_misses(
    signatures, stores, store, choose, together
) -> None:
    store.append_many([choose(user_id=f"u{number}") for number in range(8)])
    seen: list[str] = []

    def read() -> None:
        last = 0
        for _ in range(200):
            batch = signatures.changes("v1", after=last, limit=3)
            seen.extend(batch.user_ids)
            last = int(batch.sequences[-1]) if len(batch) else last

    works = [
        partial(SignatureStore(stores().database).put, of(1, user_id=f"u{number}"))
        for number in range(8)
    ]
    together([read, *works])
    rest = signatures.changes("v1", after=len(seen), limit=20).user_ids
    assert sorted([*seen, *rest]) == [f"u{number}" for number in range(8)]


def take_down(store, digest) -> None:
    ImageTakedowns(store.database, store.blobs).remove(digest("bad"))


def prune(store, digest) -> None:
    Pruner(store.database, store.blobs).prune(Retention(keep_newest=1))


@pytest.mark.parametrize("remove", [take_down, prune])
@pytest.mark.parametrize("chooses_again", [False, True])
def test_one_read_before_a_removal_is_not_stored_after_it(
    store, choose, digest, remove, chooses_again: bool
) -> None:
    """Although the user has reached its revision, and has the newest choice it was read from."""
    store.append_many([choose(liked="bad"), choose(liked=None, passed_over=("c",))])
    store.append(*choose(user_id="bob"))
    signatures = SignatureStore(store.database)
    signatures.put(of(2))
    if chooses_again:
        store.append(*choose(liked="d"))  # a pair is left, and what was read is gone all the same
    remove(store, digest)
    read_before = of(2, 9.0)
    with pytest.raises(InvalidRecord, match=r"removed since revision 2.*compute it anew"):
        signatures.put(read_before)
    assert signatures.put_many([read_before, of(1, user_id="bob")]) == ["ann"]
    left = signatures.get("ann", "v1")
    assert left is None or left.vector.tolist() == [2.0]
    assert (left is not None) == chooses_again


def test_choices_that_come_after_a_removal_do_not_hide_it(store, choose, digest) -> None:
    store.append_many([choose(liked="bad"), choose()])
    take_down(store, digest)  # revision 3, of which no choice is
    store.append_many([choose() for _ in range(2)])
    signatures = SignatureStore(store.database)
    assert signatures.put_many([of(2)]) == ["ann"]
    assert signatures.put_many([of(3)]) == []
    assert signatures.get("ann", "v1").revision == 3


def test_many_who_chose_meanwhile_are_told_from_those_who_lost_choices(
    store, choose, digest
) -> None:
    users = [f"u{number:04}" for number in range(450)]
    store.append_many([choose(user_id=each) for each in users])
    store.append_many([choose(user_id=each, liked="c") for each in users])
    store.append(*choose(user_id="u0003", liked="bad"))
    take_down(store, digest)
    put = SignatureStore(store.database).put_many([of(1, user_id=each) for each in users])
    assert put == ["u0003"]
