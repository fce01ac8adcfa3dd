"""Exact search, and how much of it an approximate index finds."""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
Positions = npt.NDArray[np.int64]

_ROUNDING = 1e-6


def exact_nearest(vectors: Vectors, queries: Vectors, k: int) -> Positions:
    """Return the k nearest vectors of each query by exact search: shape (N, k), best first."""
    import faiss

    _, positions = faiss.knn(
        np.ascontiguousarray(queries),
        np.ascontiguousarray(vectors),
        min(k, len(vectors)),
        metric=faiss.METRIC_INNER_PRODUCT,
    )
    return np.asarray(positions, dtype=np.int64)


def nearest_of(vectors: Vectors, queries: Vectors, positions: Positions, k: int) -> Positions:
    """Return the k nearest of some vectors, compared in full: shape (N, k), best first."""
    near = np.einsum("nce,ne->nc", vectors[np.maximum(positions, 0)], queries)
    near[positions < 0] = -np.inf
    best = np.argsort(-near, axis=1, kind="stable")[:, :k]
    return np.take_along_axis(positions, best, axis=1)


def recall_of(vectors: Vectors, queries: Vectors, positions: Positions, truth: Positions) -> float:
    """Return the share of true neighbours among the positions, averaged over queries.

    A vector as near as the last true neighbour counts too: of equal vectors any will do.
    """
    last = np.einsum("ne,ne->n", vectors[truth[:, -1]], queries)
    near = np.einsum("nke,ne->nk", vectors[np.maximum(positions, 0)], queries)
    hits = (near >= last[:, None] - _ROUNDING) & (positions >= 0)
    return float(hits[:, : truth.shape[1]].sum() / truth.size)
