"""Similar users against comparing with all of SQL, whatever is put, erased or restored."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from recsys.similarity.index import FRESH_S, SignatureIndex
from recsys.similarity.rows import Neighbour, UserIds
from storage.signatures import SignatureStore
from storage.tables import SignatureCounterRow, SignatureRow

E = 8


def unit(seed: int, number: int = 1, dimension: int = E) -> np.ndarray:
    vectors = np.random.default_rng(seed).standard_normal((number, dimension))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def truth(store: SignatureStore, query: np.ndarray, k: int, version: str = "v1") -> list[Neighbour]:
    """By comparing with every row of SQL."""
    batch = store.changes(version, after=0, limit=1_000_000)
    near = batch.vectors.astype(np.float64) @ query.astype(np.float64)
    rows = zip(batch.user_ids, near.tolist(), batch.sequences.tolist(), strict=True)
    return [Neighbour(*row) for row in sorted(rows, key=lambda row: (-row[1], row[0]))[:k]]


def same(result: list[Neighbour], expected: list[Neighbour]) -> bool:
    assert [each.similarity for each in result] == pytest.approx(
        [each.similarity for each in expected], abs=1e-6
    )
    return [replace(each, similarity=0.0) for each in result] == [
        replace(each, similarity=0.0) for each in expected
    ]


def ids(number: int) -> list[str]:
    return [f"user {place:05d}" for place in range(number)]


def test_the_nearest_are_found_best_first(signatures, put) -> None:
    put(ids(200), unit(1, 200))
    index = SignatureIndex(signatures, "v1")
    for query in unit(2, 5):
        assert same(index.search(query, 7), truth(signatures, query, 7))
    assert index.size == 200


def test_an_empty_index_finds_nobody_and_takes_the_first(signatures, put) -> None:
    index = SignatureIndex(signatures, "v1")
    assert index.search(unit(1)[0], 10) == []
    put(["ann"], unit(2))
    index.sync()
    assert [each.user_id for each in index.search(unit(1)[0], 10)] == ["ann"]


@pytest.mark.parametrize("k", [1, 49, 50, 51, 5000])
def test_k_may_be_more_than_there_are(signatures, put, k: int) -> None:
    put(ids(50), unit(1, 50))
    index = SignatureIndex(signatures, "v1")
    query = unit(2)[0]
    assert same(index.search(query, k), truth(signatures, query, k))


def test_excluded_users_are_not_found(signatures, put) -> None:
    given = put(ids(50), unit(1, 50))
    index = SignatureIndex(signatures, "v1")
    query = given[0].vector
    expected = [each for each in truth(signatures, query, 50) if each.user_id != given[0].user_id]
    assert same(index.search(query, 5, exclude=[given[0].user_id]), expected[:5])
    assert index.search(query, 5, exclude=ids(50)) == []


def test_new_and_changed_users_are_found_within_a_second(signatures, put) -> None:
    put(ids(50), unit(1, 50))
    index = SignatureIndex(signatures, "v1")
    index.search(unit(2)[0], 1)
    new, moved = unit(3, 2)
    put(["zoe", "user 00007"], [new, moved])
    time.sleep(FRESH_S + 0.05)
    assert index.search(new, 1)[0].user_id == "zoe"
    assert index.search(moved, 1)[0].user_id == "user 00007"
    assert index.size == 51
    assert [each.user_id for each in index.search(new, 60)].count("user 00007") == 1


def test_an_erased_user_is_not_found_from_that_moment(signatures, put, erase) -> None:
    given = put(ids(40), unit(1, 40))
    index = SignatureIndex(signatures, "v1")
    for signature in given[:39]:
        assert index.search(signature.vector, 1)[0].user_id == signature.user_id
        erase(signature.user_id)
        names = [each.user_id for each in index.search(signature.vector, 40)]
        assert signature.user_id not in names
        assert len(names) == index.size
    assert names == [given[39].user_id]


def test_an_erased_user_who_comes_again_is_found_as_they_are_now(signatures, put, erase) -> None:
    put(ids(40), unit(1, 40))
    index = SignatureIndex(signatures, "v1")
    old, new = unit(1, 40)[3], unit(5)[0]
    erase("user 00003")
    assert "user 00003" not in [each.user_id for each in index.search(old, 3)]
    put(["user 00003"], [new])
    index.sync()
    (neighbour,) = index.search(new, 1)
    assert (neighbour.user_id, neighbour.similarity) == ("user 00003", pytest.approx(1.0))
    assert same(index.search(old, 40), truth(signatures, old, 40))


def test_model_versions_never_meet(signatures, put) -> None:
    put(ids(20), unit(1, 20))
    put(ids(5), unit(2, 5, dimension=12), version="v2")
    first, second = SignatureIndex(signatures, "v1"), SignatureIndex(signatures, "v2")
    assert (first.size, second.size) == (20, 5)
    with pytest.raises(ValueError, match=r"shape \(12,\), got \(8,\)"):
        second.search(unit(3)[0], 3)


@pytest.mark.parametrize("vector", [np.zeros((2, E)), np.full(E, np.nan), np.zeros(())])
def test_what_is_no_vector_is_refused(signatures, put, vector: np.ndarray) -> None:
    put(ids(20), unit(1, 20))
    index = SignatureIndex(signatures, "v1")
    with pytest.raises(ValueError, match="a vector must"):
        index.search(vector.astype(np.float32), 1)
    with pytest.raises(ValueError, match="k must be at least 1, got 0"):
        index.search(unit(1)[0], 0)


def test_two_dimensions_under_one_version_are_refused(signatures, put, database) -> None:
    put(ids(20), unit(1, 20))
    index = SignatureIndex(signatures, "v1")
    put(["odd one"], unit(1))
    with database.writing() as session:  # past the rules
        row = session.get(SignatureRow, ("odd one", "v1"))
        row.vector = unit(1, dimension=9).tobytes()
    with pytest.raises(ValueError, match="of one dimension, got"):
        index.sync()


def test_a_restored_database_is_read_anew(signatures, put, database, erase, caplog) -> None:
    put(ids(20), unit(1, 20))
    index = SignatureIndex(signatures, "v1")
    for user_id in ids(15):
        erase(user_id)
    with database.writing() as session:
        session.get(SignatureCounterRow, "v1").last_sequence = 7
    index.sync()
    assert "the database was restored" in caplog.text
    assert index.size == 5


LARGE = {"exact_max": 500, "share": 0.2, "rebuilds": False}


def test_a_large_index_with_changes_agrees_with_sql(signatures, put, erase) -> None:
    put(ids(2000), unit(1, 2000))
    index = SignatureIndex(signatures, "v1", **LARGE)
    assert index._view.main.vector_index.recall >= 0.99
    put([f"user {place:05d}" for place in range(0, 2400, 10)], unit(2, 240))
    for user_id in ids(60)[1::2]:
        if not user_id.endswith("0"):
            erase(user_id)
    index.sync()
    current = {each.user_id: each.sequence for each in truth(signatures, unit(3)[0], 5000)}
    hits = []
    for query in unit(3, 60):
        neighbours, expected = index.search(query, 10), truth(signatures, query, 10)
        assert len(neighbours) == 10
        hits.append(len({each.user_id for each in [*neighbours, *expected]}))
        assert all(current[each.user_id] == each.sequence for each in neighbours)
        assert neighbours == sorted(neighbours, key=lambda each: (-each.similarity, each.user_id))
    assert np.mean(hits) < 10.2  # 10 where all are the same


def test_deep_searches_of_a_large_index_are_exact(signatures, put) -> None:
    put(ids(2000), unit(1, 2000))
    index = SignatureIndex(signatures, "v1", **LARGE)
    query = unit(2)[0]
    assert same(index.search(query, 1500), truth(signatures, query, 1500))


def test_ten_thousand_equal_vectors(signatures, put) -> None:
    vector = unit(1)[0]
    put(ids(10_000), np.repeat(vector[None], 10_000, axis=0))
    put(["other"], unit(2))
    for options in ({}, LARGE):
        index = SignatureIndex(signatures, "v1", **options)
        began = time.perf_counter()
        neighbours = index.search(vector, 10)
        assert [each.similarity for each in neighbours] == pytest.approx([1.0] * 10)
        assert len({each.user_id for each in neighbours}) == 10
        everybody = index.search(vector, 10_001)
        assert time.perf_counter() - began < 20
        assert [each.user_id for each in everybody] == [*ids(10_000), "other"]
    assert [each.user_id for each in neighbours] == sorted(each.user_id for each in neighbours)


def test_a_search_goes_on_behind_many_who_are_erased(signatures, put, database) -> None:
    """Asks SQL for each of them once, not for all of them again each time it looks deeper."""
    from sqlalchemy import delete

    from storage.tables import SignatureRow

    vector = unit(1)[0]
    put(ids(3000), np.repeat(vector[None], 3000, axis=0))
    put(["other"], unit(2))
    index = SignatureIndex(signatures, "v1", **LARGE)
    with database.writing() as session:
        session.execute(delete(SignatureRow).where(SignatureRow.user_id != "other"))
    asked: list[str] = []
    sequences = signatures.sequences

    def counted(version, user_ids):
        asked.extend(user_ids)
        return sequences(version, user_ids)

    signatures.sequences = counted
    assert [each.user_id for each in index.search(vector, 10)] == ["other"]
    assert len(asked) == len(set(asked)) == 3001
    assert index.size == 1


def test_a_worn_index_is_built_anew_beside(signatures, put) -> None:
    put(ids(1000), unit(1, 1000))
    index = SignatureIndex(signatures, "v1", exact_max=500, share=0.2)
    put([f"new {place}" for place in range(300)], unit(2, 300))
    index.sync()
    index.close()
    assert index._view.num_changed == 0
    assert index.size == 1300
    query = unit(2, 300)[200]
    assert index.search(query, 1)[0].user_id == "new 200"


def test_threads_search_while_others_put_and_erase(signatures, put, erase) -> None:
    put(ids(600), unit(1, 600))
    index = SignatureIndex(signatures, "v1", exact_max=300, share=0.05)
    erased: list[str] = []
    failures: list[object] = []
    is_over = threading.Event()

    def look() -> None:
        rng = np.random.default_rng(threading.get_ident() % 1000)
        while not is_over.is_set():
            gone = set(erased)
            query = unit(int(rng.integers(1000)))[0]
            names = [each.user_id for each in index.search(query, 20)]
            if len(set(names)) != 20 or gone & set(names):
                failures.append(names)

    threads = [threading.Thread(target=look) for _ in range(3)]
    for thread in threads:
        thread.start()
    for place in range(30):
        put([f"new {place} {each}" for each in range(5)], unit(100 + place, 5))
        erase(f"user {place:05d}")
        erased.append(f"user {place:05d}")
    is_over.set()
    for thread in threads:
        thread.join()
    index.close()
    assert not failures
    index.sync()
    query = unit(5)[0]
    assert same(index.search(query, 1000), truth(signatures, query, 1000))


def test_ids_are_found_by_bytes() -> None:
    names = sorted(["", "a", "ab", "b", "ä", "日本", "🦊", "a b"])
    packed = UserIds.of(names)
    assert [packed[place].decode() for place in range(len(packed))] == names
    assert [packed.find(name) for name in names] == list(range(len(names)))
    assert [packed.find(name) for name in ("aa", "zz", "🦊🦊")] == [-1, -1, -1]
