"""Indexes against comparing with all, on vectors that are easy, hard, equal, of odd dimension."""

import faiss
import numpy as np
import pytest

from recsys.similarity._exact import exact_nearest, nearest_of, recall_of
from recsys.similarity.kinds import (
    Graph,
    InvertedFile,
    OnGpu,
    build_vector_index,
    graph,
    inverted_file,
    tune,
)


def unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


def grouped(number: int, dimension: int, *, seed: int = 0) -> np.ndarray:
    """Around 30 centres, half as far from them as they are from 0."""
    centres = unit(np.random.default_rng(9).standard_normal((30, dimension)))
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((number, dimension)) / np.sqrt(dimension)
    return unit(centres[rng.integers(0, 30, number)] + 0.5 * noise)


def scattered(number: int, dimension: int, *, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal((number, dimension)))


def recall(made, vectors: np.ndarray, queries: np.ndarray, k: int = 10) -> float:
    rows = nearest_of(vectors, queries, made.nearest(queries, k), k)
    return recall_of(vectors, queries, rows, exact_nearest(vectors, queries, k))


def test_few_vectors_need_no_index() -> None:
    assert build_vector_index(grouped(300, 8), exact_max=300) is None


@pytest.mark.parametrize("dimension", [8, 9, 32])
def test_groups_get_lists_with_the_recall_that_is_promised(dimension: int) -> None:
    vectors, queries = grouped(6000, dimension), grouped(300, dimension, seed=1)
    made = build_vector_index(vectors, exact_max=1000)
    assert isinstance(made, InvertedFile)
    assert made.recall >= 0.995
    assert recall(made, vectors, queries) >= 0.99


def test_vectors_that_lie_close_are_told_apart() -> None:
    """Of few true dimensions: codes are coarser than distances, so more are compared again."""
    rng = np.random.default_rng(5)
    plane = rng.standard_normal((4, 16))
    vectors = unit(rng.standard_normal((30_000, 4)) @ plane)
    queries = unit(rng.standard_normal((200, 4)) @ plane)
    for build in (inverted_file, graph):
        made = tune(build(vectors), vectors)
        assert made is not None
        assert recall(made, vectors, queries) >= 0.99


def test_more_neighbours_are_looked_for_harder() -> None:
    vectors, queries = grouped(6000, 16), grouped(100, 16, seed=1)
    made = build_vector_index(vectors, exact_max=1000)
    assert recall(made, vectors, queries, k=100) >= 0.97


def test_where_lists_miss_neighbours_there_is_a_graph(monkeypatch) -> None:
    monkeypatch.setattr("recsys.similarity.kinds._IVF_LADDER", ((1, 20),))
    vectors = scattered(5000, 16)
    made = build_vector_index(vectors, exact_max=1000)
    assert isinstance(made, Graph)
    assert made.recall >= 0.995
    assert recall(made, vectors, scattered(200, 16, seed=1)) >= 0.99  # none of them is stored


@pytest.mark.parametrize("quicker", ["ivf-pq", "hnsw"])
def test_where_lists_are_slow_the_quicker_kind_is_kept(monkeypatch, quicker: str) -> None:
    vectors = scattered(3000, 16)
    monkeypatch.setattr("recsys.similarity.kinds._IVF_LADDER", ((32, 400),))
    monkeypatch.setattr("recsys.similarity.kinds._seconds", lambda made, _: made.kind != quicker)
    assert build_vector_index(vectors, exact_max=1000).kind == quicker
    monkeypatch.setattr("recsys.similarity.kinds.GRAPH_MAX", 2999)
    assert build_vector_index(vectors, exact_max=1000).kind == "ivf-pq"


def test_where_nothing_has_the_recall_all_are_compared(monkeypatch, caplog) -> None:
    monkeypatch.setattr("recsys.similarity.kinds._IVF_LADDER", ((1, 10),))
    monkeypatch.setattr("recsys.similarity.kinds._HNSW_LADDER", ((1, 10),))
    monkeypatch.setattr("recsys.similarity.kinds.TARGET_RECALL", 1.0)
    assert build_vector_index(scattered(3000, 32), exact_max=1000) is None
    assert "search is exact" in caplog.text


def test_tune_takes_the_cheapest_settings_that_will_do() -> None:
    vectors = scattered(6000, 16)
    easy = tune(inverted_file(vectors), vectors, target=0.5)
    hard = tune(inverted_file(vectors), vectors, target=0.999)
    assert easy.nprobe * easy.num_reranked < hard.nprobe * hard.num_reranked
    assert 0.5 <= easy.recall < hard.recall


@pytest.mark.parametrize("build", [inverted_file, graph])
def test_equal_vectors_are_all_as_good(build) -> None:
    vectors = np.repeat(scattered(1, 16), 3000, axis=0)
    tuned = tune(build(vectors), vectors)
    assert tuned is not None
    assert tuned.recall == 1.0


def test_recall_counts_what_was_found() -> None:
    vectors = unit(np.array([[1.0, 0.0], [1.0, 0.1], [1.0, 0.2], [0.0, 1.0]]))
    truth = np.array([[0, 1]])
    for rows, expected in [([0, 1], 1.0), ([1, 2], 0.5), ([2, 3], 0.0), ([0, -1], 0.5)]:
        assert recall_of(vectors, vectors[:1], np.array([rows]), truth) == expected


class FakeGpus:
    """Stands for FAISS on a machine with a GPU."""

    @staticmethod
    def use(monkeypatch) -> None:
        monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)
        monkeypatch.setattr(faiss, "index_cpu_to_all_gpus", lambda index: index, raising=False)


def test_a_gpu_compares_with_all(monkeypatch) -> None:
    FakeGpus.use(monkeypatch)
    vectors, queries = scattered(3000, 16), scattered(50, 16, seed=1)
    made = build_vector_index(vectors, exact_max=1000)
    assert isinstance(made, OnGpu)
    assert recall(made, vectors, queries) == 1.0
