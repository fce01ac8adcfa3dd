"""An objective for the preference tokens: the two halves of one history find each other.

Without labels: whoever reads two halves of a person's choices should attend to P_v alike, and
otherwise than for other people. What is compared are signatures, by projections that were fitted
before the first step and stay. Only P_v and the scale of cosines learn from it, beside the paper's
own loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from recsys.history import Pair, select
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import Projection
from recsys.signatures.probes import Probes, read_probes
from training.data.encoding import At, Encode
from training.data.samples import Sample
from training.predictors.predictor import CandidateRow

_LOG_SCALE = 0.7
"""Of the scale of cosines, at first."""


def split_half_loss(
    first: Float[Tensor, "B E"], second: Float[Tensor, "B E"], scale: Float[Tensor, ""]
) -> Float[Tensor, ""]:
    """Cross entropy of finding each user's other half among the batch, both ways.

    InfoNCE (van den Oord et al., 2018, Eq. 4) on cosines, symmetric as in CLIP (Radford et al.,
    2021, Fig. 3).  Equal signatures everywhere give log B.

    Args:
        first, second: signatures of the two halves, paired by position.
        scale: of the cosines, above 0.

    Raises:
        ValueError: if there are fewer than two users.
    """
    if len(first) < 2:
        raise ValueError(f"finding one's other half takes at least two users, got {len(first)}")
    cosines = functional.normalize(first, dim=1) @ functional.normalize(second, dim=1).T
    logits = scale * cosines
    own = torch.arange(len(first), device=first.device)
    return (functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)) / 2


class SplitHalf(nn.Module):
    """The head of the objective: attention of some probes -> a signature; left behind afterwards.

    Args:
        projections: of attention at each part of the probes, of the same heads. They are not
            learned: a head that begins at random gets nowhere in hundreds of steps.
    """

    def __init__(self, projections: Sequence[Projection]) -> None:
        super().__init__()
        self.heads = projections[0].heads
        self.weights = nn.ParameterList(
            nn.Parameter(_weights(each), requires_grad=False) for each in projections
        )
        self.log_scale = nn.Parameter(torch.tensor(_LOG_SCALE))

    def forward(
        self, first: Float[Tensor, "B F"], second: Float[Tensor, "B F"], part: int
    ) -> Float[Tensor, ""]:
        """The loss of a batch of readings, less what its 2B rows have in common.

        Args:
            first, second: attention of a part's probes, behind each half.
            part: which one it is.
        """
        rows = torch.cat([first, second]).float()
        one, other = ((rows - rows.mean(dim=0)) @ self.weights[part]).chunk(2)
        return split_half_loss(one, other, self.log_scale.exp())


def _weights(projection: Projection) -> Float[Tensor, "F E"]:
    return torch.from_numpy(projection.matrix / projection.scale[:, None]).float()


@dataclass(frozen=True, eq=False)
class Finding:
    """What a step of the objective needs.

    Attributes:
        scorer: whose P_v is trained.
        objective: its head.
        probes: rows of the image table and prompts, by part: each step reads one.
        weight: of the objective beside the paper's loss.
        seed: decides which part.
    """

    scorer: PreferenceScorer
    objective: SplitHalf
    probes: Sequence[Sequence[CandidateRow]]
    weight: float
    seed: int

    def loss(
        self, samples: Sequence[Sample], seen: Mapping[int, Tensor], encode: Encode, at: At
    ) -> Float[Tensor, ""]:
        """The loss over the users of a part: references against the pairs to be told apart.

        Both are read as references. Users with less than half of all references on either side
        take no part.

        Args:
            samples: of the part.
            seen: image tokens (T, D) by row, of all images in the samples.
            encode: the probes.
            at: step and part.
        """
        most = self.scorer.config.num_references
        pairs = [(sample.references, _as_references(sample, most)) for sample in samples]
        long = [(a, b) for a, b in pairs if 2 * min(len(a), len(b)) >= most]
        if len(long) < 2:
            return self.scorer.preference_tokens.sum() * 0
        rng = np.random.default_rng([self.seed, 32, *at])
        part = int(rng.integers(len(self.probes)))
        probes = self.probes[part]
        read = Probes(
            tuple(probe.prompt for probe in probes), encode([probe.row for probe in probes])
        )
        first = self._attention([a for a, _ in long], seen, read)
        second = self._attention([b for _, b in long], seen, read)
        return cast(Tensor, self.weight * self.objective(first, second, part))

    def _attention(
        self, users: Sequence[Sequence[Pair]], seen: Mapping[int, Tensor], probes: Probes
    ) -> Float[Tensor, "B F"]:
        shown = [seen[row] for pairs in users for p in pairs for row in (p.liked, p.disliked)]
        prompts = [[pair.prompt for pair in pairs] for pairs in users]
        read = read_probes(
            self.scorer, prompts, torch.stack(shown), probes, heads=self.objective.heads
        )
        return read.attention.flatten(1)


def _as_references(sample: Sample, num_references: int) -> tuple[Pair, ...]:
    """The pairs to be told apart, read as references in the order in which they were drawn."""
    return select(sample.pairs, num_references, order=range(len(sample.pairs)))
