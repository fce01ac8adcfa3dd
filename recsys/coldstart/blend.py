"""Help for who has chosen little: what people in general like, blended with the model's own score.

The model knows the population that it was trained on; the classes know the one that is served. The
logit of a candidate is

    a_n u(z) + b_n M(z | own n references) + c_n M(z | none),     M = (M+ - M-) / temperature,

where u is the mean taste of the classes that the own references leave likely. The three weights
for each n are fitted on people whose classes were not learned from them ("stacked generalization",
Wolpert, 1992), drawn towards the model alone: a = 0, b = 1, c = 0.

Axes: N images, T tokens of one, D hidden width, W pooled width, F features,
C candidates, R references.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save
from torch import Tensor

from recsys.coldstart.latent_classes import LatentClasses
from recsys.ranking.candidates import NOTHING_BORROWED, Borrowed
from recsys.scorer.model import CandidateImage, PreferenceScorer, Prefix, Reference

MAX_FLAT = 2048


def pooled(tokens: Float[Tensor, "N T D"]) -> Float[np.ndarray, "N W"]:
    """An image's tokens side by side, or their mean where that would be more than `MAX_FLAT`."""
    wide = tokens[0].numel() > MAX_FLAT if len(tokens) else False
    flat: Float[np.ndarray, "N W"] = (
        (tokens.mean(dim=1) if wide else tokens.flatten(1)).detach().double().cpu().numpy()
    )
    return flat


@dataclass(frozen=True, eq=False)
class ColdStart:
    """What is borrowed, learned from one population for one model version.

    Attributes:
        mean: shape (W,), of pooled image tokens.
        components: shape (W, F), whitened principal components.
        classes: tastes over them.
        blends: shape (R + 1, 3), the weights a, b, c behind 0 to R own references.
    """

    mean: Float[np.ndarray, " W"]
    components: Float[np.ndarray, "W F"]
    classes: LatentClasses
    blends: Float[np.ndarray, "R 3"]

    def features(self, tokens: Float[Tensor, "N T D"]) -> Float[np.ndarray, "N F"]:
        """Image tokens as features of the classes."""
        found: Float[np.ndarray, "N F"] = (pooled(tokens) - self.mean) @ self.components
        return found

    def borrowed(self, belonging: Float[np.ndarray, " K"], num_references: int) -> Borrowed:
        """How much of other people an answer behind so many own references rests on."""
        if self.blend(num_references)[0] == 0:
            return NOTHING_BORROWED
        return Borrowed(
            num_references=round(float(belonging @ self.classes.num_pairs)),
            num_neighbours=round(float(belonging @ self.classes.num_users)),
            population_version=self.version,
        )

    def blend(self, num_references: int) -> Float[np.ndarray, " 3"]:
        """The weights a, b, c behind so many own references."""
        row: Float[np.ndarray, " 3"] = self.blends[min(num_references, len(self.blends) - 1)]
        return row

    @cached_property
    def version(self) -> str:
        """SHA-256 of all of it."""
        return hashlib.sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """As safetensors, float32."""
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
                f"what is borrowed for new users is damaged: {error}:"
                " run `recsys coldstart fit` again"
            ) from error


@dataclass(frozen=True, eq=False)
class BlendedPrefix:
    """A user as the blend needs them.

    Attributes:
        own: behind which the model scores.
        taste: shape (F,), mean taste of the classes the user may be of.
        borrowed: what of it is other people's.
    """

    own: Prefix
    taste: Float[np.ndarray, " F"]
    borrowed: Borrowed

    @property
    def num_references(self) -> int:
        """The user's own."""
        return self.own.num_references

    @property
    def num_bytes(self) -> int:
        """Memory that keeping this user warm costs, bytes."""
        return self.own.num_bytes + int(self.taste.nbytes)


class BorrowingScorer:
    """A scorer that borrows: to the engine it is a scorer like any other.

    Args:
        scorer: loaded, frozen.
        cold_start: made for its model version.

    Raises:
        ValueError: if it was made for image tokens of another shape.
    """

    def __init__(self, scorer: PreferenceScorer, cold_start: ColdStart) -> None:
        width = pooled(scorer.image_features([torch.zeros(3, 32, 32)])).shape[1]
        if cold_start.mean.shape != (width,):
            raise ValueError(
                f"what is borrowed must be made for image tokens of {width} numbers, got"
                f" {cold_start.mean.size}: run `recsys coldstart fit` again"
            )
        self.model_version = scorer.model_version
        self._scorer = scorer
        self._cold_start = cold_start
        self._nobody = scorer.prefix([])

    @torch.no_grad()
    def prefix(self, references: Sequence[Reference]) -> BlendedPrefix:
        """Read one user's references once, for the model and for the classes.

        Raises:
            ValueError: if there are more references than the model is trained with.
        """
        images = [image for each in references for image in (each.liked, each.disliked)]
        tokens = self._scorer.image_features(images)
        return self.prefix_of([each.prompt for each in references], tokens)

    @torch.no_grad()
    def prefix_of(self, prompts: Sequence[str], tokens: Float[Tensor, "N T D"]) -> BlendedPrefix:
        """The same of image tokens.

        Args:
            prompts: of R references, oldest first.
            tokens: of each reference's liked and disliked image: N = 2R.

        Raises:
            ValueError: as `prefix`.
        """
        own = self._scorer.prefix_of(prompts, tokens) if prompts else self._nobody
        features = self._cold_start.features(tokens)
        belonging = self._cold_start.classes.belonging(features[0::2] - features[1::2])
        return BlendedPrefix(
            own,
            belonging @ self._cold_start.classes.tastes,
            self._cold_start.borrowed(belonging, len(prompts)),
        )

    @torch.no_grad()
    def score(
        self, prefix: BlendedPrefix, candidates: Sequence[CandidateImage]
    ) -> Float[Tensor, " C"]:
        """Q of each candidate: the sigmoid of the blended logit, in [0, 1], on the CPU."""
        size = self._scorer.config.max_packed_candidates
        scores = [torch.zeros(0)]
        for chunk in (candidates[at : at + size] for at in range(0, len(candidates), size)):
            tokens = self._scorer.image_features([each.image for each in chunk])
            scores.append(self.score_of(prefix, [each.prompt for each in chunk], tokens))
        return torch.cat(scores)

    def score_of(
        self, prefix: BlendedPrefix, prompts: Sequence[str], tokens: Float[Tensor, "C T D"]
    ) -> Float[Tensor, " C"]:
        """The same of image tokens."""
        return torch.sigmoid(torch.from_numpy(self.logits_of(prefix, prompts, tokens)).float())

    def logits_of(
        self, prefix: BlendedPrefix, prompts: Sequence[str], tokens: Float[Tensor, "C T D"]
    ) -> Float[np.ndarray, " C"]:
        """The blended logit, of which the score is the sigmoid. It never saturates into a tie."""
        blend = self._cold_start.blend(prefix.num_references)
        own = self._margins(prefix.own, prompts, tokens)
        # A second pass costs as much as the first: none for nobody, and none that weighs nothing.
        is_same = prefix.own is self._nobody or blend[2] == 0
        nobody = own if is_same else self._margins(self._nobody, prompts, tokens)
        return blended(blend, self._cold_start.features(tokens) @ prefix.taste, own, nobody)

    def _margins(
        self, prefix: Prefix, prompts: Sequence[str], tokens: Float[Tensor, "C T D"]
    ) -> Float[np.ndarray, " C"]:
        margins = self._scorer.margins_of(prefix, prompts, tokens)
        return margins.numpy() / self._scorer.config.temperature


def blended(
    blend: Float[np.ndarray, " 3"],
    taste: Float[np.ndarray, " C"],
    own: Float[np.ndarray, " C"],
    nobody: Float[np.ndarray, " C"],
) -> Float[np.ndarray, " C"]:
    """a u + b M(own) + c M(nobody), of C candidates."""
    logit: Float[np.ndarray, " C"] = blend @ np.stack([taste, own, nobody])
    return logit


def _check(arrays: dict[str, np.ndarray]) -> None:
    """Raise ValueError or KeyError unless the arrays fit each other and hold numbers."""
    num_classes, num_features = arrays["tastes"].shape
    shapes = {
        "mean": arrays["components"].shape[:1],
        "components": (len(arrays["mean"]), num_features),
        "blends": (max(1, len(arrays["blends"])), 3),
        **dict.fromkeys(("shares", "num_users", "num_pairs"), (num_classes,)),
    }
    for name, shape in shapes.items():
        if arrays[name].shape != shape:
            raise ValueError(f"{name} must have the shape {shape}, got {arrays[name].shape}")
    for name, array in arrays.items():
        if not np.isfinite(array).all():
            raise ValueError(f"{name} must hold numbers, got some that are not finite")
