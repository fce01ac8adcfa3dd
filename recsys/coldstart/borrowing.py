"""The scorer of a cold start: the model, blended with what other users like.

Axes: N images, T tokens of one, D hidden width, F features, C candidates.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from recsys.coldstart.blend import blended
from recsys.coldstart.population import ColdStart, pooled
from recsys.scorer.borrowed import Borrowed
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.scorer.prefix import Prefix


@dataclass(frozen=True, eq=False)
class BlendedPrefix:
    """A user's state for scoring.

    Attributes:
        own: the model's prefix of the user's references.
        taste: shape (F,), the mean taste of the classes that the user may belong to.
        borrowed: how much of it comes from other users.
    """

    own: Prefix
    taste: Float[np.ndarray, " F"]
    borrowed: Borrowed

    @property
    def num_references(self) -> int:
        """The number of the user's own references."""
        return self.own.num_references

    @property
    def num_bytes(self) -> int:
        """Memory that this user takes in a cache, in bytes."""
        return self.own.num_bytes + int(self.taste.nbytes)


class BorrowingScorer:
    """A scorer that blends in other users' taste; the engine uses it like any other scorer.

    Args:
        scorer: loaded, frozen.
        cold_start: learned for its model version.

    Raises:
        ValueError: if it was learned from image tokens of another shape.
    """

    def __init__(self, scorer: PreferenceScorer, cold_start: ColdStart) -> None:
        width = pooled(scorer.image_features([torch.zeros(3, 32, 32)])).shape[1]
        if cold_start.mean.shape != (width,):
            raise ValueError(
                f"cold start must be learned from image tokens of {width} numbers, got"
                f" {cold_start.mean.size}: run `recsys coldstart fit` again"
            )
        self.model_version = scorer.model_version
        self._scorer = scorer
        self._cold_start = cold_start
        self._nobody = scorer.prefix([])

    @property
    def max_prefix_bytes(self) -> int:
        """Most memory that a user can take in a cache, bytes."""
        return self._scorer.max_prefix_bytes + int(self._cold_start.classes.tastes[0].nbytes)

    @torch.no_grad()
    def prefix(self, references: Sequence[Reference]) -> BlendedPrefix:
        """Read a user's references once, for the model and for the classes.

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
        belonging = self._cold_start.belonging(tokens)
        return BlendedPrefix(
            own,
            belonging @ self._cold_start.classes.tastes,
            self._cold_start.borrowed(belonging, len(prompts)),
        )

    @torch.no_grad()
    def score(
        self, prefix: BlendedPrefix, candidates: Sequence[CandidateImage]
    ) -> Float[Tensor, " C"]:
        """Score each candidate: the sigmoid of the blended logit, in [0, 1], on the CPU."""
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
        """Return the blended logit, which unlike the score, its sigmoid, never saturates."""
        blend = self._cold_start.blend(prefix.num_references)
        own = self._margins(prefix.own, prompts, tokens)
        # A second pass costs as much as the first: skip it where it would change nothing.
        is_same = prefix.own is self._nobody or blend[2] == 0
        nobody = own if is_same else self._margins(self._nobody, prompts, tokens)
        return blended(blend, self.taste_logits_of(prefix, tokens), own, nobody)

    def taste_logits_of(
        self, prefix: BlendedPrefix, tokens: Float[Tensor, "C T D"]
    ) -> Float[np.ndarray, " C"]:
        """Return the logit by others' taste alone: the first term of the blend, unweighted."""
        return np.asarray(self._cold_start.features(tokens) @ prefix.taste)

    def _margins(
        self, prefix: Prefix, prompts: Sequence[str], tokens: Float[Tensor, "C T D"]
    ) -> Float[np.ndarray, " C"]:
        margins = self._scorer.margins_of(prefix, prompts, tokens)
        return margins.numpy() / self._scorer.config.temperature
