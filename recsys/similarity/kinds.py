"""Which FAISS index finds near vectors, chosen by size and by measured recall.

Up to `EXACT_MAX` vectors, none: comparing with all is quick. Above, an inverted file with 4-bit
product codes (IVF-PQ fast scan): small, soon built, and quickest where users form groups. Where
they do not, it must read many lists: up to `GRAPH_MAX` vectors a graph of 8-bit vectors (HNSW) is
built too, and the quicker kept; above, only if lists miss the recall. Candidates are compared again
by their full vectors. Where FAISS sees a GPU, that compares with all instead.
"""

import logging
import math
import threading
import time
from dataclasses import dataclass, field, replace
from functools import lru_cache
from itertools import product
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt

EXACT_MAX = 20_000
GRAPH_MAX = 300_000  # at a million, lists are as quick and built in half the time
TARGET_RECALL = 0.995  # on the sample; what is promised is 0.99
MEASURED_K = 10
MAX_K = 100  # for more neighbours, comparing with all is as quick
NUM_QUERIES = 1000
_FEW_LISTS = 16
_POINTS_PER_LIST = 64
_NUM_ROUNDS = 8  # of k-means
_LISTS, _DEPTHS = (8, 16, 24, 32, 48, 64, 96, 128), (50, 100, 200, 400, 800)
# To read a list takes as long as to compare 20 candidates again.
_LIST_EFFORTS = tuple(sorted(product(_LISTS, _DEPTHS), key=lambda each: 20 * each[0] + each[1]))
_LINKS, _BUILD_BREADTH = 16, 80
# Where vectors lie close, 8 bits do not tell them apart: half of the open ends are compared again.
_GRAPH_EFFORTS = tuple((n, n // 2 + 4) for n in (32, 48, 64, 96, 128, 192, 256, 384, 512, 1024))
_GPU_MAX_DEPTH = 1024
_ROUNDING = 1e-6

Vectors = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

logger = logging.getLogger(__name__)


@runtime_checkable
class Candidates(Protocol):
    """Finds vectors that are probably near."""

    @property
    def kind(self) -> str:
        """Its name, as snapshots have it."""

    def nearest(self, queries: Vectors, k: int) -> Positions:
        """Some vectors among which the k nearest of each query are found.

        Args:
            queries: shape (N, E).
            k: 1 to `MAX_K`.

        Returns:
            Shape (N, any), positions; -1 where there is no more.
        """


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard an index looks for `MEASURED_K` neighbours.

    Attributes:
        breadth: lists of an inverted file, or open ends in a graph.
        depth: candidates that are compared again by their full vectors.
        recall: @10 against exact search, as measured on a sample of the vectors; in [0, 1].
    """

    breadth: int
    depth: int
    recall: float = 0.0

    def scaled(self, k: int) -> tuple[int, int]:
        """Breadth and depth for k neighbours."""
        more = max(1.0, k / MEASURED_K)
        return math.ceil(self.breadth * math.sqrt(more)), math.ceil(self.depth * more)


@dataclass(frozen=True, eq=False)
class InvertedFile:
    """Lists of 4-bit product codes around centres.

    Args:
        index: a faiss.IndexIVFPQFastScan.
        effort: found by `tune`.
    """

    index: Any
    effort: Effort
    kind: str = "ivf-pq"

    def nearest(self, queries: Vectors, k: int) -> Positions:
        """Some vectors among which the k nearest of each query are found."""
        breadth, depth = self.effort.scaled(k)
        asked = _asked(self.kind, min(breadth, self.index.nlist))
        _, found = self.index.search(
            np.ascontiguousarray(queries), min(depth, self.index.ntotal), params=asked
        )
        return np.asarray(found, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class Graph:
    """8-bit vectors, each linked with near ones.

    Args:
        index: a faiss.IndexHNSWSQ.
        effort: found by `tune`.
    """

    index: Any
    effort: Effort
    kind: str = "hnsw"

    def nearest(self, queries: Vectors, k: int) -> Positions:
        """Some vectors among which the k nearest of each query are found."""
        breadth, depth = self.effort.scaled(k)
        asked = _asked(self.kind, max(breadth, depth))
        _, found = self.index.search(
            np.ascontiguousarray(queries), min(depth, self.index.ntotal), params=asked
        )
        return np.asarray(found, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class OnGpu:
    """All vectors, in a GPU index of inner products, compared with each query."""

    index: Any
    kind: str = "gpu"
    _turn: Any = field(default_factory=threading.Lock)  # a GPU index takes one caller at a time

    def nearest(self, queries: Vectors, k: int) -> Positions:
        """The nearest vectors of each query, and some more."""
        depth = min(max(10 * k, 100), self.index.ntotal, _GPU_MAX_DEPTH)
        with self._turn:
            _, positions = self.index.search(np.ascontiguousarray(queries), depth)
        return np.asarray(positions, dtype=np.int64)


def build_candidates(vectors: Vectors, *, exact_max: int = EXACT_MAX) -> Candidates | None:
    """Build what finds candidates among vectors, or None where comparing with all is as good.

    Args:
        vectors: shape (N, E), of length 1.
        exact_max: up to so many, None.

    Returns:
        One that has the recall on a sample; None also where no effort reaches it.
    """
    if len(vectors) <= exact_max:
        return None
    import faiss

    if faiss.get_num_gpus() > 0:
        return on_gpu(vectors)
    lists = tune(inverted_file(vectors), vectors)
    if lists is not None and (lists.effort.breadth <= _FEW_LISTS or len(vectors) > GRAPH_MAX):
        return lists
    found = [each for each in (lists, tune(graph(vectors), vectors)) if each is not None]
    if not found:
        logger.warning("no index of %d vectors has the recall: all are compared", len(vectors))
    return min(found, key=lambda each: _seconds(each, vectors), default=None)


def _seconds(made: Candidates, vectors: Vectors) -> float:
    """The median time of one query."""
    ends = [time.perf_counter()]
    for place in range(0, len(vectors), 1 + len(vectors) // 100):
        made.nearest(vectors[place : place + 1], MEASURED_K)
        ends.append(time.perf_counter())
    return float(np.median(np.diff(ends)))


def on_gpu(vectors: Vectors) -> OnGpu:
    """Put all vectors on the GPUs that FAISS sees."""
    import faiss

    index = faiss.IndexFlatIP(vectors.shape[1])
    index.add(np.ascontiguousarray(vectors))
    return OnGpu(faiss.index_cpu_to_all_gpus(index))


def tune(
    made: InvertedFile | Graph, vectors: Vectors, *, target: float = TARGET_RECALL, seed: int = 0
) -> InvertedFile | Graph | None:
    """Find the least effort with which an index finds enough of the true neighbours.

    Args:
        made: an index of the vectors.
        vectors: shape (N, E).
        target: recall@10 to be reached on the sample, in (0, 1].
        seed: of the sample.

    Returns:
        The index with that effort; None if no effort that is worth it reaches the target.
    """
    queries = _beside(vectors, seed)
    truth = exact_nearest(vectors, queries, MEASURED_K)
    for breadth, depth in _LIST_EFFORTS if made.kind == InvertedFile.kind else _GRAPH_EFFORTS:
        tried = replace(made, effort=Effort(breadth, depth))
        found = nearest_of(vectors, queries, tried.nearest(queries, MEASURED_K), MEASURED_K)
        recall = recall_of(vectors, queries, found, truth)
        if recall >= target:
            return replace(made, effort=Effort(breadth, depth, recall))
    return None


def _beside(vectors: Vectors, seed: int) -> Vectors:
    """Queries a + b - c, b and c neighbours of a: what is stored itself is found too easily."""
    rng = np.random.default_rng(seed)
    own = rng.choice(len(vectors), min(NUM_QUERIES, len(vectors)), replace=False)
    near = exact_nearest(vectors, vectors[own], MEASURED_K + 1)[:, 1:]
    one, other = (vectors[rng.permuted(near, axis=1)[:, 0]] for _ in range(2))
    aside: Vectors = vectors[own] + one - other
    aside /= np.linalg.norm(aside, axis=1, keepdims=True).clip(_ROUNDING)
    return aside


def exact_nearest(vectors: Vectors, queries: Vectors, k: int) -> Positions:
    """The k nearest vectors of each query by comparing with all: shape (N, k), best first."""
    import faiss

    _, positions = faiss.knn(
        np.ascontiguousarray(queries),
        np.ascontiguousarray(vectors),
        min(k, len(vectors)),
        metric=faiss.METRIC_INNER_PRODUCT,
    )
    return np.asarray(positions, dtype=np.int64)


def nearest_of(vectors: Vectors, queries: Vectors, positions: Positions, k: int) -> Positions:
    """The k nearest among candidates, by their full vectors: shape (N, k), best first."""
    near = np.einsum("nce,ne->nc", vectors[np.maximum(positions, 0)], queries)
    near[positions < 0] = -np.inf
    best = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(positions, best, axis=1)


def recall_of(vectors: Vectors, queries: Vectors, found: Positions, truth: Positions) -> float:
    """The share of true neighbours that were found, mean over queries.

    One that is as near as the last true one is a true one too: of equal vectors any will do.
    """
    last = np.einsum("ne,ne->n", vectors[truth[:, -1]], queries)
    near = np.einsum("nke,ne->nk", vectors[np.maximum(found, 0)], queries)
    hits = (near >= last[:, None] - _ROUNDING) & (found >= 0)
    return float(hits[:, : truth.shape[1]].sum() / truth.size)


def inverted_file(vectors: Vectors, *, seed: int = 0) -> InvertedFile:
    """Build lists of product codes; which efforts they need is still to be found."""
    import faiss

    num_lists = 1 << round(math.log2(4 * math.sqrt(len(vectors))))
    num_lists = min(num_lists, max(1, len(vectors) // _POINTS_PER_LIST))
    dimension = vectors.shape[1]
    # A code for each number: half as many need four times the candidates for the same recall.
    index = faiss.IndexIVFPQFastScan(
        faiss.IndexFlatIP(dimension), dimension, num_lists, dimension, 4,
        faiss.METRIC_INNER_PRODUCT,
    )  # fmt: skip
    index.by_residual = True  # codes of what is left of a centre are far nearer to the truth
    index.cp.niter = _NUM_ROUNDS
    index.cp.max_points_per_centroid = _POINTS_PER_LIST
    index.cp.min_points_per_centroid = 1  # less is a warning on the console
    index.cp.seed = seed + 1
    index.train(np.ascontiguousarray(vectors))
    index.add(np.ascontiguousarray(vectors))
    return InvertedFile(index, Effort(*_LIST_EFFORTS[0]))


def graph(vectors: Vectors) -> Graph:
    """Build a graph; which efforts it needs is still to be found."""
    import faiss

    index = faiss.IndexHNSWSQ(
        vectors.shape[1], faiss.ScalarQuantizer.QT_8bit, _LINKS, faiss.METRIC_INNER_PRODUCT
    )
    index.hnsw.efConstruction = _BUILD_BREADTH
    index.train(np.ascontiguousarray(vectors))
    index.add(np.ascontiguousarray(vectors))
    return Graph(index, Effort(*_GRAPH_EFFORTS[0]))


@lru_cache(maxsize=2 * MAX_K)  # making one costs a fifth of a search
def _asked(kind: str, breadth: int) -> Any:
    import faiss

    if kind == InvertedFile.kind:
        return faiss.SearchParametersIVF(nprobe=breadth)
    return faiss.SearchParametersHNSW(efSearch=breadth)
