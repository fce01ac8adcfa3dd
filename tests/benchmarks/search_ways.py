"""Ways of searching the nearest vectors, each built and asked through one interface."""

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import faiss
import numpy as np
import numpy.typing as npt

from recsys.similarity._exact import exact_nearest, recall_of
from recsys.similarity.kinds import build_vector_index
from recsys.similarity.rows import IndexView, MainPart, Rows

K = 10
EF_SEARCHES = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512)
RECALL = 0.99

Vectors = npt.NDArray[np.float32]
Search = Callable[[Vectors], npt.NDArray[np.int64]]
Tunable = tuple["Way", Callable[[int], None]]  # and what sets its efSearch


@dataclass(frozen=True)
class Way:
    """Something that was built and answers one query of shape (E,) with positions."""

    name: str
    note: str
    build_s: float
    num_bytes: float
    search: Search


def built(make: Callable[[], Any], threads: int) -> tuple[Any, float]:
    """What was made, and the CPU seconds of all threads; searches run on one afterwards."""
    faiss.omp_set_num_threads(threads)
    began = time.process_time()
    made = make()
    took = time.process_time() - began
    faiss.omp_set_num_threads(1)
    return made, took


def with_numpy(vectors: Vectors) -> Way:
    """All compared, the best by partition."""

    def search(query: Vectors) -> npt.NDArray[np.int64]:
        near = vectors @ query
        best = np.argpartition(near, len(near) - K)[-K:]
        return best[np.argsort(-near[best])]

    return Way("numpy", "", 0.0, vectors.nbytes, search)


def with_faiss_exact(vectors: Vectors, threads: int) -> Way:
    """All compared."""
    index = faiss.IndexFlatIP(vectors.shape[1])
    _, took = built(lambda: index.add(vectors), threads)
    return Way("faiss exact", "", took, vectors.nbytes, lambda q: index.search(q[None], K)[1][0])


def with_faiss_hnsw(vectors: Vectors, threads: int) -> Tunable:
    """A graph over full vectors."""
    index = faiss.IndexHNSWFlat(vectors.shape[1], 16, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 80
    _, took = built(lambda: index.add(vectors), threads)
    size = faiss.serialize_index(index).nbytes
    way = Way("faiss hnsw", "", took, size, lambda q: index.search(q[None], K)[1][0])
    return way, lambda ef_search: setattr(index.hnsw, "efSearch", ef_search)


def with_hnswlib(vectors: Vectors, threads: int) -> Tunable:
    """A graph over full vectors."""
    import hnswlib

    index = hnswlib.Index(space="ip", dim=vectors.shape[1])
    index.init_index(max_elements=len(vectors), ef_construction=80, M=16)
    _, took = built(lambda: index.add_items(vectors, num_threads=threads), threads)
    index.set_num_threads(1)
    size = index.index_file_size()
    way = Way("hnswlib", "", took, size, lambda q: index.knn_query(q, k=K)[0][0])
    return way, index.set_ef


def with_usearch(vectors: Vectors, threads: int) -> Tunable:
    """A graph over full vectors."""
    from usearch.index import Index

    index = Index(
        ndim=vectors.shape[1], metric="ip", dtype="f32", connectivity=16, expansion_add=80
    )
    keys = np.arange(len(vectors))
    _, took = built(lambda: index.add(keys, vectors, threads=threads), threads)

    def search(query: Vectors) -> npt.NDArray[np.int64]:
        return index.search(query, K, threads=1).keys.astype(np.int64)

    way = Way("usearch", "", took, index.serialized_length, search)
    return way, lambda ef_search: setattr(index, "expansion_search", ef_search)


def user_ids(number: int) -> list[str]:
    """Ids of 13 characters."""
    return [f"user-{place:08d}" for place in range(number)]


def with_recsys(vectors: Vectors, threads: int) -> tuple[Way, MainPart]:
    """The index as it is built for this size, without SQL."""
    ids = user_ids(len(vectors))
    rows = Rows.of(ids, np.arange(1, len(ids) + 1), vectors)
    index, took = built(lambda: build_vector_index(vectors), threads)
    main = MainPart(rows, len(ids), index)
    view = IndexView.of(main)

    def search(query: Vectors) -> npt.NDArray[np.int64]:
        if index is None:
            return np.array([row.sequence - 1 for row in view.exact(query, K)])
        near = index.nearest(query[None], K)[0]
        near = near[near >= 0]
        best = np.argsort(-(vectors.take(near, axis=0) @ query))[:K]
        return near[best]

    kept = (rows.user_ids.text, rows.user_ids.ends, rows.sequences, rows.vectors)
    size = float(sum(each.nbytes for each in kept))
    note = "exact"
    if index is not None:
        size += faiss.serialize_index(index.index).nbytes  # type: ignore[attr-defined]
        settings = ", ".join(map(str, list(index.settings.values())[:2]))  # type: ignore[attr-defined]
        note = f"{index.kind} {settings}"
    return Way("recsys", note, took, size, search), main


def recall(vectors: Vectors, queries: Vectors, rows: list[npt.NDArray[np.int64]]) -> float:
    """The share of the true `K` nearest that were found."""
    truth = exact_nearest(vectors, queries, K)
    return recall_of(vectors, queries, np.stack(rows), truth)


def with_recall(made: Tunable, vectors: Vectors, queries: Vectors) -> Way:
    """A graph with the least efSearch that has the recall."""
    way, widen = made
    queries = queries[:300]
    for ef_search in EF_SEARCHES:
        widen(ef_search)
        if recall(vectors, queries, [way.search(query) for query in queries]) >= RECALL:
            break
    return replace(way, note=f"efSearch {ef_search}")
