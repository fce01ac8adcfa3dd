"""Ways of drawing synthetic signatures: unit vectors in groups, or such as some real ones are."""

from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

NUM_CENTRES = 1000
NUM_COMPONENTS = 16

Vectors = npt.NDArray[np.float32]
Draw = Callable[[int, int], Vectors]  # how many, and a seed of the draws alone


def grouped(dimension: int, spread: float) -> Draw:
    """Around common centres c, uniform on the sphere: c + spread g, where E[|g|^2] = 1."""
    centres = np.random.default_rng(0).standard_normal((NUM_CENTRES, dimension))
    noise = spread / np.sqrt(dimension) * np.eye(dimension)[None].repeat(NUM_CENTRES, axis=0)
    shares = np.full(NUM_CENTRES, 1 / NUM_CENTRES)
    return partial(_drawn, _unit(centres), noise, shares)


def alike(path: Path) -> Draw:
    """From a mixture of normal distributions fitted to real signatures, with full covariances.

    Args:
        path: of a NumPy file of shape (N, E).
    """
    from sklearn.mixture import GaussianMixture

    real = _unit(np.load(path).astype(np.float64))
    fitted = GaussianMixture(NUM_COMPONENTS, reg_covar=1e-5, random_state=0).fit(real)
    return partial(_drawn, fitted.means_, np.linalg.cholesky(fitted.covariances_), fitted.weights_)


def tenth_nearest(vectors: Vectors, number: int = 2000) -> float:
    """Mean cosine of some of them to their tenth nearest among as many: how dense they lie."""
    near = vectors[:number] @ vectors[:number].T
    return float(np.sort(near, axis=1)[:, -11].mean())


def _drawn(
    centres: npt.NDArray[np.float64],
    noise: npt.NDArray[np.float64],
    shares: npt.NDArray[np.float64],
    number: int,
    seed: int,
) -> Vectors:
    rng = np.random.default_rng(seed)
    places = np.sort(rng.choice(len(centres), number, p=shares))
    vectors = centres[places]
    ends = np.searchsorted(places, np.arange(len(centres) + 1))
    for place, (begin, end) in enumerate(pairwise(ends)):
        vectors[begin:end] += rng.standard_normal((end - begin, centres.shape[1])) @ noise[place].T
    return rng.permutation(_unit(vectors).astype(np.float32))


def _unit(vectors: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    lengths: npt.NDArray[np.float64] = np.linalg.norm(vectors, axis=1, keepdims=True)
    return vectors / lengths
