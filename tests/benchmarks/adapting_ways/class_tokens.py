"""P_v for each latent class of the cold start, mixed by the classes that a person may belong to.

Axes: S classes, K preference tokens, D hidden width, R references, T tokens of an image.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from recsys.coldstart.fit import ReadTokens
from recsys.coldstart.population import ColdStart
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.prefix import Prefix, ReferenceTokens
from training.data.samples import Sample


class ClassScorer(PreferenceScorer):
    """A scorer that reads Σ π_s(u) C_s before each user: prototypes, mixed.

    π_s(u) is the probability that the user belongs to class s, given the references that are read
    and nothing else; where none is read, it is the class's share of the population.

    Attributes:
        class_tokens: C, shape (S, K, D); each class begins with the preference tokens of the
            scorer.

    Args:
        scorer: what is read, and by whom, is its own.
        cold_start: has the classes.
    """

    def __init__(self, scorer: PreferenceScorer, cold_start: ColdStart) -> None:
        super().__init__(
            scorer.backbone,
            scorer.template,
            geometry=scorer.geometry,
            config=scorer.config,
            model_version=scorer.model_version,
        )
        self.has_own_adapter = scorer.has_own_adapter
        self.preference_tokens = scorer.preference_tokens
        self._cold_start = cold_start
        num_classes = len(cold_start.classes.shares)
        self.class_tokens = nn.Parameter(
            scorer.preference_tokens.detach().repeat(num_classes, 1, 1)
        )

    def mixed(
        self, features: Float[Tensor, "N T D"], liked_first: Sequence[bool] | None = None
    ) -> Float[Tensor, "K D"]:
        """The preference tokens of a user, with gradients.

        Args:
            features: image tokens of the references that are read, two each: N = 2R.
            liked_first: of each reference, whether its liked image stands first; None: of all.
        """
        told = self._cold_start.features(features)
        differences = told[0::2] - told[1::2]
        if liked_first is not None:
            differences = np.where(np.array(liked_first, bool)[:, None], differences, -differences)
        belonging = self._cold_start.classes.belonging(differences)
        tokens = self.class_tokens
        shares = torch.as_tensor(belonging, dtype=tokens.dtype, device=tokens.device)
        return torch.einsum("s,skd->kd", shares, tokens).to(self.backbone.dtype)

    def in_training(
        self, read_tokens: ReadTokens
    ) -> Callable[[Sequence[Sample]], Float[Tensor, "B K D"]]:
        """The preference tokens of each sample's user, as `step_loss` takes them.

        Args:
            read_tokens: of the samples' images.
        """

        def of(sample: Sample) -> Tensor:
            rows = [row for pair in sample.references for row in (pair.liked, pair.disliked)]
            return self.mixed(read_tokens(rows))

        return lambda samples: torch.stack([of(sample) for sample in samples])

    @torch.no_grad()
    def prefixes_of(self, users: Sequence[ReferenceTokens]) -> list[Prefix]:
        """Read several users' references, each behind the tokens that these references tell of."""
        return super().prefixes_of(
            [replace(u, preference=self.mixed(u.features, u.liked_first)) for u in users]
        )
