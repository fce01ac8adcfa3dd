"""Signature vectors: they come back bit for bit, and an older one never hides a newer one."""

from functools import partial

import numpy as np
import pytest

from storage.errors import InvalidRecord, UnknownUser
from storage.records import Signature
from storage.signatures import SignatureStore


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
    found = signatures.get("ann", "v1")
    assert (found.user_id, found.model_version, found.revision) == ("ann", "v1", 3)
    assert found.vector.dtype == np.float32
    assert found.vector.tobytes() == vector.tobytes()
    found.vector[0] = 1  # the caller's own


@pytest.mark.parametrize("dtype", [">f4", "f8", "f2"])
def test_other_layouts_are_stored_as_the_same_numbers(signatures, dtype: str) -> None:
    vector = np.arange(6, dtype=dtype)[::2]
    signatures.put(Signature("ann", "v1", 1, vector))
    assert signatures.get("ann", "v1").vector.tolist() == [0.0, 2.0, 4.0]


def test_the_newest_stands(signatures) -> None:
    for revision, stands in [(2, 2), (4, 4), (3, 4), (0, 4), (5, 5)]:
        signatures.put(of(revision))
        found = signatures.get("ann", "v1")
        assert (found.revision, found.vector.tolist()) == (stands, [stands])
    # Computed again, as after a repair: the later word counts.
    signatures.put(of(5, 7.0))
    assert signatures.get("ann", "v1").vector.tolist() == [7.0]


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
