"""A history -> one vector per user: what the same probe images show behind that user's references.

Every user gets the same small set of probe candidates, packed behind their own references, as the
paper's Fig. 3 does with one. Two readings of that pass can become a signature: the probes' scores
(M+ - M-), and their attention to the preference tokens (Eq. 6). A projection fitted on training
users turns a reading into a unit vector, so that the inner product of two is their similarity.

Axes: R references, P probes, K preference tokens, H heads, F reading, E signature.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, get_args

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.history import SIGNATURE_REFERENCES
from recsys.scorer.attention import Normalisation
from recsys.scorer.model import PreferenceScorer, Reference
from recsys.signatures.attention_maps import reorderings
from recsys.signatures.probes import Probes, probe_attention, probe_scores

Readout = Literal["scores", "attention"]
READOUTS: tuple[Readout, ...] = get_args(Readout)


@dataclass(frozen=True, eq=False)
class Projection:
    """How a reading becomes a signature: s = W^T ((x - mean) / scale), brought to length 1.

    Attributes:
        mean: shape (F,), of training users' readings.
        scale: shape (F,), above 0, their standard deviation.
        matrix: W, shape (F, E).
        heads: of an attention reading, the (layer, head) that are read, in this order; empty for
            scores.
        normalisation: of an attention reading, as in `record_preference_attention`.

    Raises:
        ValueError: if the shapes do not fit, a number is not finite, a scale is not above 0, or
            the normalisation is unknown.
    """

    mean: Float[np.ndarray, " F"]
    scale: Float[np.ndarray, " F"]
    matrix: Float[np.ndarray, "F E"]
    heads: tuple[tuple[int, int], ...] = ()
    normalisation: Normalisation = "log_ratio"

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
        if self.normalisation not in get_args(Normalisation):
            raise ValueError(
                f"normalisation must be {', '.join(get_args(Normalisation))},"
                f" got {self.normalisation}"
            )

    @property
    def dimension(self) -> int:
        """E."""
        return int(self.matrix.shape[1])

    def __call__(self, reading: Float[np.ndarray, "*N F"]) -> Float[np.ndarray, "*N E"]:
        """Project readings to unit vectors, float32.

        A reading that is the mean itself has no direction: it becomes the first axis.
        """
        projected = (reading - self.mean) / self.scale @ self.matrix
        length = np.linalg.norm(projected, axis=-1, keepdims=True)
        first = np.eye(1, self.dimension)[0]
        unit = np.where(length > 0, projected / np.maximum(length, 1e-30), first)
        signature: Float[np.ndarray, "*N E"] = unit.astype(np.float32)
        return signature


class SignatureReader:
    """Reads signatures with a loaded scorer.

    Args:
        scorer: frozen, with the checkpoint's weights.
        probes: the checkpoint's.
        projection: the checkpoint's, for this readout.
        readout: which reading.
        num_orders: re-orderings of the references whose readings are averaged, at least 1; the
            first is as given.

    Raises:
        ValueError: if projection and reading do not fit, or there is no order.
    """

    def __init__(
        self,
        scorer: PreferenceScorer,
        probes: Probes,
        projection: Projection,
        *,
        readout: Readout = "scores",
        num_orders: int = 1,
    ) -> None:
        heads, count = len(projection.heads), scorer.config.num_preference_tokens
        width = len(probes.prompts) if readout == "scores" else heads * count
        if projection.mean.shape != (width,):
            raise ValueError(
                f"a projection of {readout} must read {width} numbers, got one of"
                f" {projection.mean.size}: fit it for this checkpoint"
            )
        layers, each = scorer.backbone.num_layers, scorer.backbone.num_heads
        if not all(0 <= at < layers and 0 <= head < each for at, head in projection.heads):
            raise ValueError(
                f"a projection must read among {layers} layers of {each} heads, got"
                f" {projection.heads}: fit it for this checkpoint"
            )
        if num_orders < 1:
            raise ValueError(f"num_orders must be at least 1, got {num_orders}")
        self.readout = readout
        self.num_orders = num_orders
        self.model_version = signature_version(scorer.model_version, readout)
        self.dimension = projection.dimension
        self._scorer = scorer
        self.probes = probes
        self.projection = projection

    def read(self, references: Sequence[Reference]) -> Float[np.ndarray, " E"]:
        """One user's signature, a float32 unit vector of length E.

        Args:
            references: oldest first, at least one; the newest `SIGNATURE_REFERENCES` are read, in
                parts of as many as the model was trained with, whose readings are averaged.

        Raises:
            ValueError: if there is no reference.
        """
        images = [image for each in references for image in (each.liked, each.disliked)]
        with torch.no_grad():
            features = self._scorer.image_features(images)
        return self.read_tokens([each.prompt for each in references], features)

    def read_tokens(
        self, prompts: Sequence[str], features: Float[Tensor, "N T D"]
    ) -> Float[np.ndarray, " E"]:
        """The same of image tokens.

        Args:
            prompts: of R references, oldest first.
            features: of each reference's liked and disliked image: N = 2R.

        Raises:
            ValueError: if there is no reference.
        """
        reading = self.reading(prompts, features)
        return self.projection(reading)

    def reading(
        self, prompts: Sequence[str], features: Float[Tensor, "N T D"]
    ) -> Float[np.ndarray, " F"]:
        """What is projected: the mean over the parts of a history."""
        if not prompts:
            raise ValueError("a signature needs at least one reference, got none: record choices")
        size = max(self._scorer.config.num_references, 1)
        readings = []
        for part in parts(len(prompts), size):
            rows = [row for place in part for row in (2 * place, 2 * place + 1)]
            told = [prompts[place] for place in part]
            readings.append(self._read_part(told, features[rows]))
        mean: Float[np.ndarray, " F"] = np.mean(readings, axis=0)
        return mean

    def _read_part(self, prompts: Sequence[str], features: Tensor) -> Float[np.ndarray, " F"]:
        orders = reorderings(len(prompts), num_orders=self.num_orders, seed=0)
        told = [[prompts[place] for place in order] for order in orders]
        rows = [row for order in orders for place in order for row in (2 * place, 2 * place + 1)]
        if self.readout == "scores":
            scores = probe_scores(self._scorer, told, features[rows], self.probes)
            mean: Float[np.ndarray, " F"] = scores.mean(axis=0)
            return mean
        attention = probe_attention(
            self._scorer,
            told,
            features[rows],
            self.probes,
            normalisation=self.projection.normalisation,
        ).mean(axis=0)
        return attention_reading(attention, self.projection.heads)


def attention_reading(
    attention: Float[np.ndarray, "*N layers H K"], heads: Sequence[tuple[int, int]]
) -> Float[np.ndarray, "*N F"]:
    """The chosen (layer, head) rows of an attention, side by side: F = heads x K."""
    rows = [attention[..., layer, head, :] for layer, head in heads]
    reading: Float[np.ndarray, "*N F"] = np.concatenate(rows, axis=-1)
    return reading


def signature_version(model_version: str, readout: Readout) -> str:
    """Under which version a readout's vectors are stored: vectors of two never meet.

    The shipped one's is the model version itself.
    """
    if readout == READOUTS[0]:
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
