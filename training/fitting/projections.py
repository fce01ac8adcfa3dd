"""Projections: how a reading of the model becomes a signature, fitted without labels.

What a reading holds of a person is what both halves of their history show; the rest is the chance
of which images came up. Linear discriminant analysis with users as classes finds the directions in
which people differ most for what the same person differs from themself, and each is weighed by how
far it can be believed. Attention has too many numbers for that: it is read for what the scores of
both halves say.
"""

from collections.abc import Sequence

import numpy as np
import scipy.linalg
from jaxtyping import Float

from recsys.signatures.definition import Projection

Reading = Float[np.ndarray, "N F"]


def fit_projection(
    first: Reading,
    second: Reading,
    *,
    dimension: int,
    ridge: float,
    basis: Float[np.ndarray, "F C"] | None = None,
) -> Projection:
    """Fit a projection to readings of two halves of each user's history.

    Readings are standardised; S_b, what the halves share, is their symmetric cross-covariance and
    S_w, what they do not, half the covariance of their difference. With
    S_b v = l (S_w + ridge I) v, a direction's reliability is l / (1 + l), by which it is
    multiplied: the posterior mean of a Gaussian person given one half.  Ioffe, "Probabilistic
    Linear Discriminant Analysis", 2006.

    Args:
        first, second: shape (N, F), paired by position; N at least 2.
        dimension: directions kept, at most F are.
        ridge: added to S_w, at least 0; what a constant column needs.
        basis: columns whose C coordinates are what is standardised and fitted; None: F numbers as
            they are.

    Raises:
        ValueError: if the shapes differ or there are fewer than two users.
    """
    if first.shape != second.shape or len(first) < 2:
        raise ValueError(
            "a projection needs both halves of at least two users' histories, "
            f"got {first.shape} and {second.shape}: import more choices"
        )
    mean = np.concatenate([first, second]).mean(axis=0)
    one, other = (
        each - mean if basis is None else (each - mean) @ basis for each in (first, second)
    )
    spread = np.concatenate([one, other]).std(axis=0)
    scale = np.where(spread > 1e-9, spread, 1.0)
    one, other = one / scale, other / scale
    shared = (one.T @ other + other.T @ one) / (2 * len(one))
    unshared = (one - other).T @ (one - other) / (2 * len(one))
    floor = max(ridge, 1e-6) * np.eye(len(scale))
    values, vectors = scipy.linalg.eigh(shared, unshared + floor)
    best = np.argsort(values)[::-1][:dimension]
    believed = np.maximum(values[best], 0) / (1 + np.maximum(values[best], 0))
    matrix = vectors[:, best] * believed
    if basis is None:
        return Projection(mean, scale, matrix)
    return Projection(mean, np.ones_like(mean), basis / scale @ matrix)


def principal_components(
    first: Reading, second: Reading, num_components: int
) -> Float[np.ndarray, "F C"]:
    """Orthonormal directions in which readings of both halves vary most, largest first.

    Args:
        first, second: shape (N, F).
        num_components: C, at most F are.
    """
    both = np.concatenate([first, second])
    centred = both - both.mean(axis=0)
    width = both.shape[1]
    last = max(width - num_components, 0)
    _, vectors = scipy.linalg.eigh(centred.T @ centred, subset_by_index=[last, width - 1])
    return np.asarray(vectors[:, ::-1])


def regress(
    readings: Sequence[Reading], target: Float[np.ndarray, "N E"], *, ridge: float
) -> Projection:
    """Fit a projection by which readings of the same people come nearest to a target.

    Ridge regression of all readings together. Rotary positions turn attention by how many tokens
    stand before it, so readings behind few and behind many references belong among them.

    Args:
        readings: one or more of the same N users, in their order.
        target: of each user.
        ridge: above 0, relative to the sum of all F variances.
    """
    rows = np.concatenate(readings)
    mean = rows.mean(axis=0)
    centred = rows - mean
    wanted = np.concatenate([target - target.mean(axis=0)] * len(readings))
    floor = max(ridge * float(np.square(centred).sum()) / len(rows), 1e-9)
    gram = centred.T @ centred
    gram[np.diag_indices_from(gram)] += floor
    matrix = scipy.linalg.solve(gram, centred.T @ wanted, assume_a="pos")
    return Projection(mean, np.ones_like(mean), matrix)


def choose_heads(
    first: Float[np.ndarray, "N P A K"],
    second: Float[np.ndarray, "N P A K"],
    target: Float[np.ndarray, "N E"],
    *,
    ridge: float,
) -> tuple[int, ...]:
    """The heads whose attention tells of a target at all, best first.

    Each head's attention is fitted to the target on every other user; of the users left it must
    explain some of the target's variance. If none does, the best one is kept.

    Args:
        first, second: attention of the two halves, paired by position.
        target: of each user.
        ridge: as in `regress`.

    Returns:
        Which of the A.
    """
    fitted, judged = slice(0, None, 2), slice(1, None, 2)
    explained = {}
    for head in range(first.shape[2]):
        one, other = (each[:, :, head].reshape(len(each), -1) for each in (first, second))
        fit = regress([one[fitted], other[fitted]], target[fitted], ridge=ridge)
        wanted = target[judged] - target[fitted].mean(axis=0)
        left = [fit.coordinates(half[judged]) - wanted for half in (one, other)]
        unexplained = np.square(left).mean() / max(float(np.square(wanted).mean()), 1e-30)
        explained[head] = 1 - float(unexplained)
    ranked = sorted(explained, key=lambda head: -explained[head])
    return tuple(head for head in ranked if explained[head] > 0) or tuple(ranked[:1])


def added(first: Projection, second: Projection) -> Projection:
    """The projection of two readings side by side whose coordinates are the sums of both's."""
    return Projection(
        np.concatenate([first.mean, second.mean]),
        np.concatenate([first.scale, second.scale]),
        np.concatenate([first.matrix, second.matrix]),
        heads=first.heads or second.heads,
    )
