"""Cluster users by their signatures: HDBSCAN for few users, spherical k-means for many.

Signatures are unit vectors, so that Euclidean distance orders pairs as the cosine does.
"""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float32, Int64

from recsys.errors import InvalidRequest, NotFound
from storage.clusters.records import Parameter
from storage.records import SignatureBatch

METHODS = ("auto", "hdbscan", "kmeans")
UNCLUSTERED = -1
FEW_USERS = 20_000
"""Up to this many, "auto" takes HDBSCAN: its time grows with the square of their number."""

MAX_UNCLUSTERED = 0.5
"""Above this share of unclustered users, "auto" takes k-means instead, and says so."""

_SEED = 0
_ITERATIONS = 25
_NUM_RESTARTS = 5  # the best is kept: a single run may merge two groups
_POINTS_A_CENTROID = 2000  # k-means is trained on a sample of at most this many users a cluster
_MIN_SIZE = 5
_MAX_BY_DEFAULT = 64  # nobody reads more clusters than this
_ROWS_AT_ONCE = 10_000
_SMALLEST_NORM = 1e-12
_DECIMALS = 6

UnitVectors = Float32[np.ndarray, "N E"]
Labels = Int64[np.ndarray, " N"]


@runtime_checkable
class SignatureSource(Protocol):
    """Where signatures come from; `storage.signatures.SignatureStore` is one."""

    def count(self, model_version: str) -> int:
        """Return the number of signatures."""

    def last_sequence(self, model_version: str) -> int:
        """Return the last sequence given."""

    def changes(
        self, model_version: str, *, after: int, limit: int, learnable: bool = False
    ) -> SignatureBatch:
        """Return those stored after a sequence, of users who may be learned from if asked for."""


@dataclass(frozen=True, slots=True, eq=False)
class SignatureTable:
    """All signatures of a model version in memory.

    Attributes:
        user_ids: N users, each once.
        vectors: shape (N, E), float32, of length 1.
    """

    user_ids: tuple[str, ...]
    vectors: UnitVectors


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """A clustering of users.

    Attributes:
        labels: shape (N,), int64: 0 to num_clusters - 1, the largest first; -1: unclustered.
        centroids: shape (num_clusters, E), float32, of length 1.
        similarity: shape (N,), float32: cosine of each user to their centroid; 0 if unclustered.
        method: "hdbscan" or "kmeans".
        parameters: of the method, by name.
    """

    labels: Labels
    centroids: Float32[np.ndarray, "num_clusters E"]
    similarity: Float32[np.ndarray, " N"]
    method: str
    parameters: dict[str, Parameter]

    @property
    def num_clusters(self) -> int:
        """The number of clusters."""
        return len(self.centroids)


def read_signatures(source: SignatureSource, model_version: str) -> SignatureTable:
    """Read all signatures of a model version into one array, page by page.

    Users who do not want to be learned from are left out.

    Signatures stored meanwhile may be missed; the last one of each user is kept.

    Args:
        source: of signatures.
        model_version: of the signatures.

    Raises:
        NotFound: if there is none.
    """
    until, after = source.last_sequence(model_version), 0
    vectors = np.zeros((0, 0), dtype=np.float32)
    rows: dict[str, int] = {}
    while after < until:
        batch = source.changes(model_version, after=after, limit=_ROWS_AT_ONCE, learnable=True)
        if not len(batch):
            break
        at = [rows.setdefault(user_id, len(rows)) for user_id in batch.user_ids]
        if len(rows) > len(vectors):
            num_rows = max(len(rows), source.count(model_version))
            vectors = _grown(vectors, num_rows, batch.vectors.shape[1])
        vectors[at] = batch.vectors
        after = int(batch.sequences[-1])
    if not rows:
        raise NotFound(
            f"no signatures of model version {model_version} are stored: run `recsys backfill`"
        )
    return SignatureTable(tuple(rows), _of_length_one(vectors[: len(rows)]))


def group(
    vectors: UnitVectors,
    *,
    method: str = "auto",
    num_clusters: int | None = None,
    min_size: int | None = None,
) -> Grouping:
    """Cluster users by their signatures; the same input gives the same clusters.

    HDBSCAN finds the number of clusters itself and leaves outliers unclustered (Campello et al.
    2013); by default min_size is half the square root of N, at least 5. k-means (FAISS, spherical)
    assigns every user; by default num_clusters is the square root of N / 10, from 2 to 64. Both
    defaults are rules of thumb for what an analyst can read.

    Args:
        vectors: of length 1, at least one.
        method: "auto" takes HDBSCAN for up to `FEW_USERS` users unless num_clusters is given, and
            k-means otherwise or if HDBSCAN leaves more than `MAX_UNCLUSTERED` unclustered.
        num_clusters: of k-means, 1 to N; fewer result if vectors are identical.
        min_size: of a cluster; members of smaller ones are unclustered; at least 2.

    Raises:
        InvalidRequest: if the method is unknown or a number is out of range.
    """
    _check(len(vectors), method, num_clusters, min_size)
    if method == "kmeans" or (method == "auto" and num_clusters is not None):
        return _kmeans(vectors, num_clusters, min_size, reason="asked for")
    if method == "auto" and len(vectors) > FEW_USERS:
        return _kmeans(vectors, None, min_size, reason=f"more than {FEW_USERS} users")
    dense = _hdbscan(vectors, min_size, asked=method)
    unclustered = float((dense.labels == UNCLUSTERED).mean())
    if method == "hdbscan" or unclustered <= MAX_UNCLUSTERED or len(vectors) < _MIN_SIZE:
        return dense
    reason = f"HDBSCAN left {unclustered:.0%} of users in no cluster"
    return _kmeans(vectors, None, min_size, reason=reason)


def _hdbscan(vectors: UnitVectors, min_size: int | None, *, asked: str) -> Grouping:
    size = min_size or max(_MIN_SIZE, round(len(vectors) ** 0.5 / 2))
    parameters: dict[str, Parameter] = {
        "min_size": size,
        "min_samples": min(size, _MIN_SIZE),
        "reason": "asked for" if asked == "hdbscan" else f"up to {FEW_USERS} users",
    }
    return _grouping(vectors, _dense_labels(vectors, size), "hdbscan", parameters)


def _dense_labels(vectors: UnitVectors, size: int) -> Labels:
    if len(vectors) < size:
        return np.full(len(vectors), UNCLUSTERED, dtype=np.int64)
    if np.ptp(vectors, axis=0).max() == 0:
        return np.zeros(len(vectors), dtype=np.int64)  # all equal: the density is infinite
    from sklearn.cluster import HDBSCAN

    model = HDBSCAN(min_cluster_size=size, min_samples=min(size, _MIN_SIZE), copy=True, n_jobs=1)
    # Its tree ranks distances, and float32 would create ties.
    return np.asarray(model.fit_predict(vectors.astype(np.float64)), dtype=np.int64)


def _kmeans(
    vectors: UnitVectors, num_clusters: int | None, min_size: int | None, *, reason: str
) -> Grouping:
    import faiss

    num_users, dimension = vectors.shape
    k = num_clusters or min(num_users, _MAX_BY_DEFAULT, max(2, round((num_users / 10) ** 0.5)))
    model = faiss.Kmeans(
        dimension,
        k,
        niter=_ITERATIONS,
        nredo=_NUM_RESTARTS,
        seed=_SEED,
        spherical=True,
        min_points_per_centroid=1,
        max_points_per_centroid=_POINTS_A_CENTROID,
    )
    model.train(vectors)
    _, nearest = model.index.search(vectors, 1)
    labels = nearest[:, 0].astype(np.int64)
    sizes = np.bincount(labels, minlength=k)
    labels[sizes[labels] < (min_size or 1)] = UNCLUSTERED
    parameters: dict[str, Parameter] = {"num": k, "seed": _SEED, "reason": reason}
    if min_size is not None:
        parameters["min_size"] = min_size
    return _grouping(vectors, labels, "kmeans", parameters)


def _grouping(
    vectors: UnitVectors, labels: Labels, method: str, parameters: dict[str, Parameter]
) -> Grouping:
    """Number clusters by size; centroids are the means of their members, of length 1."""
    numbers, sizes = np.unique(labels[labels >= 0], return_counts=True)
    places = np.full(labels.max(initial=0) + 2, UNCLUSTERED)  # the last one is that of label -1
    places[numbers[np.argsort(-sizes, kind="stable")]] = np.arange(len(numbers))
    renamed = places[labels]
    centroids = np.zeros((len(numbers), vectors.shape[1]), dtype=np.float32)
    similarity = np.zeros(len(vectors), dtype=np.float32)
    for place in range(len(numbers)):
        members = renamed == place
        # In float64, and rounded: equal cosines are equal on every machine, and the id decides.
        units = _of_length_one(vectors[members].astype(np.float64))
        centroid = _of_length_one(units.mean(axis=0, keepdims=True))[0]
        centroids[place] = centroid
        cosines = units @ centroid
        similarity[members] = np.clip(np.round(cosines, _DECIMALS), -1, 1)
    return Grouping(renamed, centroids, similarity, method, parameters)


def _check(num_users: int, method: str, num_clusters: int | None, min_size: int | None) -> None:
    if method not in METHODS:
        raise InvalidRequest(f"method must be one of {', '.join(METHODS)}, got {method}")
    if num_users < 1:
        raise InvalidRequest(
            "clustering needs at least one signature, got none: run `recsys backfill`"
        )
    if num_clusters is not None and method == "hdbscan":
        raise InvalidRequest("HDBSCAN finds the number of clusters: drop --num, or use kmeans")
    if num_clusters is not None and not 1 <= num_clusters <= num_users:
        raise InvalidRequest(
            f"num must be 1 to {num_users}, the number of users, got {num_clusters}: pass another"
            " --num"
        )
    if min_size is not None and min_size < 2:
        raise InvalidRequest(f"min-size must be 2 or more, got {min_size}: pass another --min-size")


def _grown(vectors: Any, num_rows: int, dimension: int) -> Any:
    grown = np.zeros((num_rows, dimension), dtype=np.float32)
    if len(vectors):
        grown[: len(vectors)] = vectors
    return grown


def _of_length_one(vectors: Any) -> Any:
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / np.maximum(norms, _SMALLEST_NORM)
