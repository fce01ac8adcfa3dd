"""What a signature is: a unit vector projected from a reading of the model behind references.

Every user gets the same few probe candidates, packed behind their own references, as the paper's
Fig. 3 does with one. Of that pass the probes' scores (M+ - M-) are read, or, where the scores are
read, attention to the preference tokens (Eq. 6), or both. A projection fitted on training users
turns a reading into a unit vector, so that the inner product of two is their similarity.

Axes: N users, P probes, K preference tokens, H heads, F reading, E signature.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, Protocol, get_args, runtime_checkable

import numpy as np
import numpy.typing as npt
from jaxtyping import Float

from recsys.history import SIGNATURE_REFERENCES

Readout = Literal["scores", "attention", "both"]
READOUTS: tuple[Readout, ...] = get_args(Readout)

Head = tuple[int, int]
"""Of attention: its layer, and which one of that layer, from 0."""


@runtime_checkable
class SignatureModel(Protocol):
    """Anything that reads signatures; `recsys.signatures.reader.SignatureReader` is what ships."""

    @property
    def model_version(self) -> str:
        """Digest of all that decides a signature."""

    def read(self, references: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Return the vector, of length 1, of a user with these references."""

    def read_many(self, users: Sequence[Sequence[Any]]) -> Sequence[npt.NDArray[np.float32]]:
        """Return the vector of each user; computed together, where that is faster."""


@dataclass(frozen=True, eq=False)
class Projection:
    """How a reading becomes a signature: s = W^T ((x - mean) / scale), brought to length 1.

    Attributes:
        mean: shape (F,), of training users' readings.
        scale: shape (F,), above 0, their standard deviation.
        matrix: W, shape (F, E).
        heads: the (layer, head) whose attention is read, in this order; empty for scores.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite or a scale is not above 0.
    """

    mean: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]
    matrix: Float[np.ndarray, "F E"]
    heads: tuple[Head, ...] = ()

    def __post_init__(self) -> None:
        width = self.mean.shape
        if self.scale.shape != width or self.matrix.shape[:-1] != width or not self.matrix.size:
            raise ValueError(
                "mean, scale and matrix of a projection must have shapes (F,), (F,) and (F, E),"
                f" got {width}, {self.scale.shape} and {self.matrix.shape}: fit it again"
            )
        finite = all(np.isfinite(each).all() for each in (self.mean, self.scale, self.matrix))
        if not finite or self.scale.min() <= 0:
            raise ValueError(
                "a projection must hold finite numbers and scales above 0, got others: fit it again"
            )

    @property
    def dimension(self) -> int:
        """E."""
        return int(self.matrix.shape[1])

    def coordinates(self, reading: Float[np.ndarray, "*N F"]) -> Float[np.ndarray, "*N E"]:
        """s, before it is brought to length 1."""
        return np.asarray((reading - self.mean) / self.scale @ self.matrix)

    def __call__(self, reading: Float[np.ndarray, "*N F"]) -> Float[np.ndarray, "*N E"]:
        """Project readings to unit vectors, float32.

        A reading that is the mean itself has no direction: it becomes the first axis.
        """
        projected = self.coordinates(reading)
        length = np.linalg.norm(projected, axis=-1, keepdims=True)
        first = np.eye(1, self.dimension)[0]
        unit = np.where(length > 0, projected / np.maximum(length, 1e-30), first)
        return np.asarray(unit, np.float32)


def reading_of(
    scores: Float[np.ndarray, "N P"], attention: Float[np.ndarray, "N P A K"], readout: Readout
) -> Float[np.ndarray, "N F"]:
    """Of what N users' probes showed, the numbers that a readout has, side by side.

    Args:
        scores, attention: as in `recsys.signatures.probes.ProbeReadings`.
        readout: F = P for scores, P A K for attention, and the sum for both.
    """
    columns = {"scores": scores, "attention": attention.reshape(len(attention), -1)}
    if readout != "both":
        return columns[readout]
    return np.concatenate(list(columns.values()), axis=1)


def width_of(readout: Readout, *, num_probes: int, num_heads: int, num_tokens: int) -> int:
    """F of a readout: how many numbers `reading_of` has for each user."""
    attention = num_probes * num_heads * num_tokens
    return {"scores": num_probes, "attention": attention, "both": num_probes + attention}[readout]


def signature_version(model_version: str, readout: Readout) -> str:
    """Under which version a readout's vectors are stored: vectors of two never meet.

    That of scores is the model version itself, which covers probes and projections.
    """
    if readout == "scores":
        return model_version
    return hashlib.sha256(f"{model_version}:{readout}".encode()).hexdigest()


def parts(num_references: int, size: int) -> list[range]:
    """Cut the newest `SIGNATURE_REFERENCES` into parts of at most `size`, even in length.

    Args:
        num_references: at least 1.
        size: references that the model reads at once, at least 1.
    """
    count = min(num_references, SIGNATURE_REFERENCES)
    begin = num_references - count
    num_parts = -(-count // size)
    cuts = [begin + count * part // num_parts for part in range(num_parts + 1)]
    return [range(first, last) for first, last in pairwise(cuts)]
