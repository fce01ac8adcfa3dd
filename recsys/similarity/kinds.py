"""The kinds of FAISS index, chosen by the number of vectors and by measured recall.

Up to `EXACT_MAX` vectors there is none: exact search is fast. Above, an inverted file with 4-bit
product codes (IVF-PQ fast scan): small, quickly built, and the fastest where users form groups.
Where they do not, many lists must be read: up to `GRAPH_MAX` vectors a graph of 8-bit vectors
(HNSW) is built too and the faster one kept; above, only if the inverted file misses the recall.
What an index returns is re-ranked by the full vectors. Where FAISS sees a GPU, search is exact
and runs there.
"""

import logging
import math
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from recsys.similarity._exact import Positions, Vectors, exact_nearest, nearest_of, recall_of

EXACT_MAX = 20_000
GRAPH_MAX = 300_000  # at a million, lists are as quick and built in half the time
TARGET_RECALL = 0.995  # on the sample; what is promised is 0.99
MEASURED_K = 10
MAX_K = 100  # for more neighbours, exact search is as fast
NUM_QUERIES = 1000
_FEW_LISTS = 16
_POINTS_PER_LIST = 64
_NUM_ROUNDS = 8  # of k-means
_NPROBES, _DEPTHS = (8, 16, 24, 32, 48, 64, 96, 128), (50, 100, 200, 400, 800)
# (nprobe, num_reranked): reading a list takes as long as re-ranking 20 vectors.
_IVF_LADDER = tuple(sorted(product(_NPROBES, _DEPTHS), key=lambda each: 20 * each[0] + each[1]))
_LINKS, _EF_CONSTRUCTION = 16, 80
# (efSearch, num_reranked): 8 bits do not tell close vectors apart, so half of them are re-ranked.
_HNSW_LADDER = tuple((n, n // 2 + 4) for n in (32, 48, 64, 96, 128, 192, 256, 384, 512, 1024))
_GPU_MAX_DEPTH = 1024
_SMALLEST_NORM = 1e-6

logger = logging.getLogger(__name__)


@runtime_checkable
class VectorIndex(Protocol):
    """An approximate nearest-neighbour index."""

    @property
    def kind(self) -> str:
        """Its name, as snapshots write it."""

    @property
    def recall(self) -> float:
        """Recall@10 against exact search on a sample of the vectors, in [0, 1]."""

    def nearest(self, queries: Vectors, k: int) -> Positions:
        """Return vectors among which the k nearest of each query probably are.

        Args:
            queries: shape (N, E).
            k: 1 to `MAX_K`.

        Returns:
            Shape (N, any), positions; -1 where there are no more.
        """


@dataclass(frozen=True, eq=False)
class InvertedFile:
    """Lists of 4-bit product codes around centroids (IVF-PQ fast scan).

    Args:
        index: a faiss.IndexIVFPQFastScan.
        nprobe: lists that are read for `MEASURED_K` neighbours.
        num_reranked: vectors that are then compared in full.
        recall: as measured by `tune`.
    """

    index: Any
    nprobe: int
    num_reranked: int
    recall: float = 0.0
    kind: str = "ivf-pq"

    def nearest(self, queries: Vectors, k: int) -> Positions:
        """Return vectors among which the k nearest of each query probably are."""
        nprobe, num_reranked = _scaled(self.nprobe, self.num_reranked, k)
        parameters = _nprobe(min(nprobe, self.index.nlist))
        return _searched(self.index, queries, num_reranked, parameters)

    def ladder(self) -> "Iterator[InvertedFile]":
        """The same index with every setting worth trying, the cheapest first."""
        return (replace(self, nprobe=n, num_reranked=r) for n, r in _IVF_LADDER)

    @property
    def settings(self) -> dict[str, int | float]:
        """What a snapshot keeps beside the FAISS index."""
        return {"nprobe": self.nprobe, "num_reranked": self.num_reranked, "recall": self.recall}


@dataclass(frozen=True, eq=False)
class Graph:
    """8-bit vectors, each linked with near ones (HNSW).

    Args:
        index: a faiss.IndexHNSWSQ.
        ef_search: width of the search for `MEASURED_K` neighbours.
        num_reranked: vectors that are then compared in full.
        recall: as measured by `tune`.
    """

    index: Any
    ef_search: int
    num_reranked: int
    recall: float = 0.0
    kind: str = "hnsw"

    def nearest(self, queries: Vectors, k: int) -> Positions:
        """Return vectors among which the k nearest of each query probably are."""
        ef_search, num_reranked = _scaled(self.ef_search, self.num_reranked, k)
        parameters = _ef_search(max(ef_search, num_reranked))
        return _searched(self.index, queries, num_reranked, parameters)

    def ladder(self) -> "Iterator[Graph]":
        """The same index with every setting worth trying, the cheapest first."""
        return (replace(self, ef_search=ef, num_reranked=r) for ef, r in _HNSW_LADDER)

    @property
    def settings(self) -> dict[str, int | float]:
        """What a snapshot keeps beside the FAISS index."""
        return {
            "ef_search": self.ef_search,
            "num_reranked": self.num_reranked,
            "recall": self.recall,
        }


@dataclass(frozen=True, eq=False)
class OnGpu:
    """Exact search in a GPU index of inner products."""

    index: Any
    kind: str = "gpu"
    recall: float = 1.0
    _turn: Any = field(default_factory=threading.Lock)  # a GPU index takes one caller at a time

    def nearest(self, queries: Vectors, k: int) -> Positions:
        """Return the nearest vectors of each query, and some more."""
        depth = min(max(10 * k, 100), self.index.ntotal, _GPU_MAX_DEPTH)
        with self._turn:
            _, positions = self.index.search(np.ascontiguousarray(queries), depth)
        return np.asarray(positions, dtype=np.int64)


Tunable = TypeVar("Tunable", InvertedFile, Graph)


def build_vector_index(vectors: Vectors, *, exact_max: int = EXACT_MAX) -> VectorIndex | None:
    """Build an index of vectors, or None where exact search is as good.

    Args:
        vectors: shape (N, E), of length 1.
        exact_max: up to this many vectors, None.

    Returns:
        An index that reaches `TARGET_RECALL` on a sample; None also if no setting reaches it.
    """
    if len(vectors) <= exact_max:
        return None
    import faiss

    if faiss.get_num_gpus() > 0:
        return on_gpu(vectors)
    lists = tune(inverted_file(vectors), vectors)
    if lists is not None and (lists.nprobe <= _FEW_LISTS or len(vectors) > GRAPH_MAX):
        return lists
    tuned = [each for each in (lists, tune(graph(vectors), vectors)) if each is not None]
    if not tuned:
        logger.warning("no index of %d vectors reaches the recall: search is exact", len(vectors))
    return min(tuned, key=lambda each: _seconds(each, vectors), default=None)


def _seconds(index: VectorIndex, vectors: Vectors) -> float:
    """The median time of one query."""
    ends = [time.perf_counter()]
    for place in range(0, len(vectors), 1 + len(vectors) // 100):
        index.nearest(vectors[place : place + 1], MEASURED_K)
        ends.append(time.perf_counter())
    return float(np.median(np.diff(ends)))


def on_gpu(vectors: Vectors) -> OnGpu:
    """Put all vectors on the GPUs that FAISS sees."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    return OnGpu(faiss.index_cpu_to_all_gpus(index))


def tune(
    index: Tunable, vectors: Vectors, *, target: float = TARGET_RECALL, seed: int = 0
) -> Tunable | None:
    """Find the cheapest settings with which an index reaches a recall.

    Args:
        index: of the vectors.
        vectors: shape (N, E).
        target: recall@10 to be reached on the sample, in (0, 1].
        seed: of the sample.

    Returns:
        The index with those settings; None if none on its ladder reaches the target.
    """
    queries = _sample_queries(vectors, seed)
    truth = exact_nearest(vectors, queries, MEASURED_K)
    for tried in index.ladder():
        positions = tried.nearest(queries, MEASURED_K)
        positions = nearest_of(vectors, queries, positions, MEASURED_K)
        recall = recall_of(vectors, queries, positions, truth)
        if recall >= target:
            return replace(tried, recall=recall)
    return None


def _sample_queries(vectors: Vectors, seed: int) -> Vectors:
    """Queries a + b - c, with b and c neighbours of a: stored vectors are too easy to find."""
    rng = np.random.default_rng(seed)
    own = rng.choice(len(vectors), min(NUM_QUERIES, len(vectors)), replace=False)
    near = exact_nearest(vectors, vectors[own], MEASURED_K + 1)[:, 1:]
    one, other = (vectors[rng.permuted(near, axis=1)[:, 0]] for _ in range(2))
    aside: Vectors = vectors[own] + one - other
    aside /= np.linalg.norm(aside, axis=1, keepdims=True).clip(_SMALLEST_NORM)
    return aside


def inverted_file(vectors: Vectors, *, seed: int = 0) -> InvertedFile:
    """Build an inverted file with the cheapest settings; `tune` finds those it needs."""
    import faiss

    num_lists = 1 << round(math.log2(4 * math.sqrt(len(vectors))))
    num_lists = min(num_lists, max(1, len(vectors) // _POINTS_PER_LIST))
    dimension = vectors.shape[1]
    # One code for each dimension: with half as many, four times the vectors must be re-ranked.
    index = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(dimension), dimension, num_lists, dimension, 4,
        faiss.METRIC_INNER_PRODUCT,
    )  # fmt: skip
    index.by_residual = True  # codes of residuals are far more exact
    index.cp.niter = _NUM_ROUNDS
    index.cp.max_points_per_centroid = _POINTS_PER_LIST
    index.cp.min_points_per_centroid = 1  # less is a warning on the console
    index.cp.seed = seed + 1
    index.train(np.ascontiguousarray(vectors))
    index.add(np.ascontiguousarray(vectors))
    return InvertedFile(index, *_IVF_LADDER[0])


def graph(vectors: Vectors) -> Graph:
    """Build a graph with the cheapest settings; `tune` finds those it needs."""
    import faiss

    index = faiss.IndexHNSWSQ(
        vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT
    )
    index.hnsw.efConstruction = _EF_CONSTRUCTION
    index.train(np.ascontiguousarray(vectors))
    index.add(np.ascontiguousarray(vectors))
    return Graph(index, *_HNSW_LADDER[0])


def _scaled(breadth: int, num_reranked: int, k: int) -> tuple[int, int]:
    """Settings measured for `MEASURED_K` neighbours, widened for k."""
    growth = max(1.0, k / MEASURED_K)
    return math.ceil(breadth * math.sqrt(growth)), math.ceil(num_reranked * growth)


def _searched(index: Any, queries: Vectors, num_reranked: int, parameters: Any) -> Positions:
    k = min(num_reranked, index.ntotal)
    _, positions = index.search(np.ascontiguousarray(queries), k, params=parameters)
    return np.asarray(positions, dtype=np.int64)


@lru_cache(maxsize=MAX_K)  # making one costs a fifth of a search
def _nprobe(value: int) -> Any:
    import faiss

    return faiss.SearchParametersIVF(nprobe=value)


@lru_cache(maxsize=MAX_K)
def _ef_search(value: int) -> Any:
    import faiss

    return faiss.SearchParametersHNSW(efSearch=value)
