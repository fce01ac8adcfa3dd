"""Signatures on a plane: the map's coordinates, and their cache on disk.

Only sequences and coordinates are written to disk, no user ids: the point of an erased user, who is
no longer in SQL, belongs to nobody.
"""

import hashlib
import io
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import cast
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from storage.files import replace_file

_MIN_POINTS = 8
_PERPLEXITY = 30.0
_NUM_THREADS = 2


class Method(StrEnum):
    """How vectors are laid out."""

    PCA = "pca"
    TSNE = "tsne"


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Points of a map.

    Attributes:
        sequences: shape (N,), of the signatures.
        points: shape (N, 2), float32.
        kept: share of the variance that the plane explains, 0 to 1; NaN for t-SNE.
    """

    sequences: npt.NDArray[np.int64]
    points: npt.NDArray[np.float32]
    kept: float


def lay_out(
    sequences: npt.NDArray[np.int64], vectors: npt.NDArray[np.float32], method: Method
) -> Layout:
    """Project vectors onto a plane.

    Args:
        sequences: shape (N,).
        vectors: shape (N, E).
        method: PCA shows the two directions of most variance; t-SNE keeps neighbours together, and
            its distances between groups have no meaning.  With too few points, PCA is used.
    """
    points, kept = _principal(vectors)
    if method is Method.TSNE and len(vectors) >= _MIN_POINTS:
        return Layout(sequences, _neighbour_embedding(vectors, points), float("nan"))
    return Layout(sequences, points, kept)


def cached_layout(folder: Path, name: str) -> Layout | None:
    """Return a cached layout; None if there is none that can be read."""
    try:
        stored = io.BytesIO(_path(folder, name).read_bytes())
        with np.load(stored, allow_pickle=False) as arrays:
            return Layout(arrays["sequences"], arrays["points"], float(arrays["kept"]))
    except (OSError, ValueError, KeyError, EOFError, BadZipFile):
        return None


def keep_layout(folder: Path, name: str, layout: Layout) -> None:
    """Write a layout to the cache, whole or not at all; a full or read-only disk is ignored."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with replace_file(_path(folder, name)) as temporary, temporary.open("wb") as file:
            np.savez(
                file,
                sequences=layout.sequences,
                points=layout.points,
                kept=np.float64(layout.kept),
            )
    except OSError:
        return


def _path(folder: Path, name: str) -> Path:
    return folder / f"map-{hashlib.sha256(name.encode()).hexdigest()[:24]}.npz"


def _principal(vectors: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.float32], float]:
    if len(vectors) < 2:
        return np.zeros((len(vectors), 2), np.float32), 1.0
    centred = vectors.astype(np.float64) - vectors.mean(axis=0, dtype=np.float64)
    values, axes = np.linalg.eigh(centred.T @ centred)  # smallest first
    axes = axes[:, ::-1][:, :2]
    # The sign of an axis is arbitrary: the largest component is made positive, on every machine.
    axes = axes * np.sign(axes[np.abs(axes).argmax(axis=0), range(2)])
    total = float(values.sum())
    kept = float(values[-2:].sum()) / total if total > 0 else 1.0
    return (centred @ axes).astype(np.float32), kept


def _neighbour_embedding(
    vectors: npt.NDArray[np.float32], start: npt.NDArray[np.float32]
) -> npt.NDArray[np.float32]:
    from sklearn.manifold import TSNE

    spread = float(start[:, 0].std()) or 1.0
    embedding = TSNE(
        perplexity=min(_PERPLEXITY, (len(vectors) - 1) / 3),
        init=(start / spread * 1e-4).astype(np.float32),
        metric="euclidean",
        random_state=0,
        n_jobs=_NUM_THREADS,
    )
    return cast(npt.NDArray[np.float32], embedding.fit_transform(vectors).astype(np.float32))
