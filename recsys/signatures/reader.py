"""A history -> its signature, as `recsys.signatures.definition` has it, with a loaded scorer.

Axes: R references, N images, T tokens of an image, D hidden width, F reading, E signature.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.scorer.model import PreferenceScorer, Reference
from recsys.signatures.definition import (
    Projection,
    Readout,
    parts,
    reading_of,
    signature_version,
    width_of,
)
from recsys.signatures.orders import in_orders, mean_over_orders
from recsys.signatures.probes import Probes, read_probes


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
        width = width_of(
            readout,
            num_probes=len(probes.prompts),
            num_heads=len(projection.heads),
            num_tokens=scorer.config.num_preference_tokens,
        )
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
        (signature,) = self.read_many([references])
        return signature

    def read_many(self, users: Sequence[Sequence[Reference]]) -> list[Float[np.ndarray, " E"]]:
        """Signatures of several users, as `read` gives each of them but for rounding.

        They share passes of the decoder, which are as many as the longest history has parts. An
        image that comes more than once is known by its tokens, or encoded again.

        Args:
            users: each one's references, as for `read`.

        Raises:
            ValueError: if a user has no reference.
        """
        shown = [
            [image for each in user for image in (each.liked, each.disliked)] for user in users
        ]
        with torch.no_grad():
            features = [self._scorer.image_features(images) for images in shown]
        readings = self._readings([[each.prompt for each in user] for user in users], features)
        return [self.projection(reading) for reading in readings]

    def read_tokens(
        self, prompts: Sequence[str], features: Float[Tensor, "N T D"]
    ) -> Float[np.ndarray, " E"]:
        """One user's signature, of image tokens.

        Args:
            prompts: of R references, oldest first.
            features: of each reference's liked and disliked image: N = 2R.

        Raises:
            ValueError: if there is no reference.
        """
        return self.projection(self.reading(prompts, features))

    def reading(
        self, prompts: Sequence[str], features: Float[Tensor, "N T D"]
    ) -> Float[np.ndarray, " F"]:
        """What is projected: the mean over the parts of a history."""
        (reading,) = self._readings([prompts], [features])
        return reading

    def _readings(
        self, prompts: Sequence[Sequence[str]], features: Sequence[Tensor]
    ) -> list[Float[np.ndarray, " F"]]:
        """Of each user the mean over parts; a pass reads one part of everybody who has so many."""
        if not all(prompts):
            raise ValueError("a signature needs at least one reference, got none: record choices")
        size = max(self._scorer.config.num_references, 1)
        cut = [parts(len(each), size) for each in prompts]
        read: list[list[np.ndarray]] = [[] for _ in prompts]
        for number in range(max(map(len, cut), default=0)):
            users = [user for user, each in enumerate(cut) if number < len(each)]
            places = [cut[user][number] for user in users]
            rows = self._read_parts(
                [
                    [prompts[user][place] for place in part]
                    for user, part in zip(users, places, strict=True)
                ],
                [features[user][_rows_of(part)] for user, part in zip(users, places, strict=True)],
            )
            for user, row in zip(users, rows, strict=True):
                read[user].append(row)
        return [np.asarray(np.mean(each, axis=0)) for each in read]

    def _read_parts(
        self, prompts: Sequence[Sequence[str]], features: Sequence[Tensor]
    ) -> Float[np.ndarray, "B F"]:
        """Of each user's references the mean over their orders, all in one pass."""
        orders = in_orders([range(len(each)) for each in prompts], self.num_orders)
        whose = [user for user in range(len(prompts)) for _ in range(self.num_orders)]
        ordered = [
            [prompts[user][place] for place in o] for user, o in zip(whose, orders, strict=True)
        ]
        shown = [features[user][_rows_of(order)] for user, order in zip(whose, orders, strict=True)]
        return mean_over_orders(self._read_rows(ordered, torch.cat(shown)), self.num_orders)

    def _read_rows(
        self, prompts: Sequence[Sequence[str]], features: Tensor
    ) -> Float[np.ndarray, "N F"]:
        heads = () if self.readout == "scores" else self.projection.heads
        with torch.no_grad():
            read = read_probes(self._scorer, prompts, features, self.probes, heads=heads)
        scores, attention = (each.double().cpu().numpy() for each in (read.scores, read.attention))
        return reading_of(scores, attention, self.readout)


def _rows_of(places: Iterable[int]) -> list[int]:
    """Where the two images of each of these references stand."""
    return [row for place in places for row in (2 * place, 2 * place + 1)]
