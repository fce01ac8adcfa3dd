"""A history -> its signature, as `recsys.signatures.definition` has it, with a loaded scorer.

Axes: R references, N images, T tokens of an image, D hidden width, F reading, E signature.
"""

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.scorer.model import PreferenceScorer, Reference
from recsys.signatures.definition import (
    Projection,
    Readout,
    attention_reading,
    parts,
    signature_version,
)
from recsys.signatures.orders import in_orders, mean_over_orders
from recsys.signatures.probes import Probes, probe_attention, probe_scores


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
            readings.append(self._read_part([prompts[place] for place in part], features[rows]))
        return np.asarray(np.mean(readings, axis=0))

    def _read_part(self, prompts: Sequence[str], features: Tensor) -> Float[np.ndarray, " F"]:
        orders = in_orders([range(len(prompts))], self.num_orders)
        ordered = [[prompts[place] for place in order] for order in orders]
        rows = [row for order in orders for place in order for row in (2 * place, 2 * place + 1)]
        (mean,) = mean_over_orders(self._read_rows(ordered, features[rows]), self.num_orders)
        return np.asarray(mean)

    def _read_rows(
        self, prompts: Sequence[Sequence[str]], features: Tensor
    ) -> Float[np.ndarray, "N F"]:
        if self.readout == "scores":
            return probe_scores(self._scorer, prompts, features, self.probes)
        attention = probe_attention(
            self._scorer,
            prompts,
            features,
            self.probes,
            normalisation=self.projection.normalisation,
        )
        return attention_reading(attention, self.projection.heads)
