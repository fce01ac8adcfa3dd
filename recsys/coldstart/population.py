"""What is learned from a population: features of images, latent classes, and the blend's weights.

Axes: N images, T tokens of one, D hidden width, W pooled width, F features, K classes,
R references.
"""

import hashlib
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from recsys.coldstart.blend import TERMS
from recsys.coldstart.latent_classes import LatentClasses
from recsys.scorer.borrowed import NOTHING_BORROWED, Borrowed

MAX_FLAT = 2048


def pooled(tokens: Float[Tensor, "N T D"]) -> Float[np.ndarray, "N W"]:
    """Flatten each image's tokens, or average them where there are more than `MAX_FLAT` numbers."""
    is_wide = len(tokens) > 0 and tokens[0].numel() > MAX_FLAT
    rows = tokens.mean(dim=1) if is_wide else tokens.flatten(1)
    return np.asarray(rows.detach().double().cpu().numpy())


@dataclass(frozen=True, eq=False)
class ColdStart:
    """What was learned from one population for one model version.

    Attributes:
        mean: shape (W,), of pooled image tokens.
        components: shape (W, F), whitened principal components.
        classes: the population's tastes, over those components.
        blends: shape (R + 1, 3), the weights of the blend for 0 to R own references.
    """

    mean: Float[np.ndarray, " W"]
    components: Float[np.ndarray, "W F"]
    classes: LatentClasses
    blends: Float[np.ndarray, "R 3"]

    def features(self, tokens: Float[Tensor, "N T D"]) -> Float[np.ndarray, "N F"]:
        """Turn image tokens into the features that tastes are over."""
        return np.asarray((pooled(tokens) - self.mean) @ self.components)

    def belonging(self, tokens: Float[Tensor, "N T D"]) -> Float[np.ndarray, " K"]:
        """Return the probability of each class for a user with these references.

        Args:
            tokens: of each reference's liked and disliked image: N = 2R.
        """
        features = self.features(tokens)
        return self.classes.belonging(features[0::2] - features[1::2])

    def borrowed(self, belonging: Float[np.ndarray, " K"], num_references: int) -> Borrowed:
        """Return how much a score with this many own references relies on other users."""
        if self.blend(num_references)[0] == 0:
            return NOTHING_BORROWED
        return Borrowed(
            num_references=round(float(belonging @ self.classes.num_pairs)),
            num_neighbours=round(float(belonging @ self.classes.num_users)),
            population_version=self.version,
        )

    def blend(self, num_references: int) -> Float[np.ndarray, " 3"]:
        """Return the weights of the blend for this many own references."""
        return np.asarray(self.blends[min(num_references, len(self.blends) - 1)])

    @cached_property
    def version(self) -> str:
        """SHA-256 of `to_bytes`."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Serialise as safetensors, float32."""
        own = {"mean": self.mean, "components": self.components, "blends": self.blends}
        theirs = {each.name: getattr(self.classes, each.name) for each in fields(LatentClasses)}
        arrays = {k: np.ascontiguousarray(v, dtype=np.float32) for k, v in (own | theirs).items()}
        return save(arrays)

    @classmethod
    def from_bytes(cls, data: bytes) -> "ColdStart":
        """Read what `to_bytes` wrote.

        Raises:
            ValueError: if it is damaged.
        """
        try:
            arrays = {name: each.astype(np.float64) for name, each in load(data).items()}
            _check(arrays)
            classes = LatentClasses(**{f.name: arrays.pop(f.name) for f in fields(LatentClasses)})
            return cls(classes=classes, **arrays)
        except (SafetensorError, KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"what cold start learned is damaged: {error}: run `recsys coldstart fit` again"
            ) from error


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Raise ValueError or KeyError unless the arrays fit each other and are finite."""
    num_classes, num_features = arrays["tastes"].shape
    shapes = {
        "mean": arrays["components"].shape[:1],
        "components": (len(arrays["mean"]), num_features),
        "blends": (max(1, len(arrays["blends"])), len(TERMS)),
        **dict.fromkeys(("shares", "num_users", "num_pairs"), (num_classes,)),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {arrays[name].shape}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must be finite, got NaN or infinity")
