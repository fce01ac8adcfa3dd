"""An objective for the preference tokens: the two halves of one history find each other.

Without labels: whoever reads two halves of a person's choices should attend to P_v alike, and
otherwise than for other people. Only P_v learns from it, beside the paper's own loss.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional

from recsys.history import Pair, select
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.probes import Probes, all_heads, read_probes
from training.data.encoding import At, Encode
from training.data.samples import Sample
from training.predictors.predictor import CandidateRow


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
    """The head of the objective: attention of drawn probes -> a signature; left behind afterwards.

    Args:
        num_probes: that are drawn from.
        width: numbers of one probe's attention, layers x heads x K.
        dimension: E.
    """

    def __init__(self, num_probes: int, width: int, dimension: int) -> None:
        super().__init__()
        bound = width**-0.5
        self.head = nn.Parameter(torch.empty(num_probes, width, dimension).uniform_(-bound, bound))
        self.log_scale = nn.Parameter(torch.tensor(1.0))

    def forward(
        self,
        first: Float[Tensor, "B p F"],
        second: Float[Tensor, "B p F"],
        drawn: Int[Tensor, " p"],
    ) -> Float[Tensor, ""]:
        """The loss of a batch of readings, each number standardised over its 2B rows.

        Args:
            first, second: attention of the drawn probes, behind each half.
            drawn: which probes they are.
        """
        rows = torch.cat([first, second]).float()
        standard = (rows - rows.mean(dim=0)) / (rows.std(dim=0) + 1e-6)
        one, other = torch.einsum("bpf,pfe->be", standard, self.head[drawn]).chunk(2)
        return split_half_loss(one, other, self.log_scale.exp())


@dataclass(frozen=True, eq=False)
class Finding:
    """What a step of the objective needs.

    Attributes:
        scorer: whose P_v is trained.
        objective: its head.
        probes: rows of the image table and prompts.
        probes_a_step: so many of them are read in each step.
        weight: of the objective beside the paper's loss.
        seed: decides which probes.
    """

    scorer: PreferenceScorer
    objective: SplitHalf
    probes: Sequence[CandidateRow]
    probes_a_step: int
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
        drawn = torch.from_numpy(rng.permutation(len(self.probes))[: self.probes_a_step])
        probes = [self.probes[place] for place in drawn.tolist()]
        read = Probes(
            tuple(probe.prompt for probe in probes), encode([probe.row for probe in probes])
        )
        first = self._attention([a for a, _ in long], seen, read)
        second = self._attention([b for _, b in long], seen, read)
        return cast(Tensor, self.weight * self.objective(first, second, drawn))

    def _attention(
        self, users: Sequence[Sequence[Pair]], seen: Mapping[int, Tensor], probes: Probes
    ) -> Float[Tensor, "B p F"]:
        shown = [seen[row] for pairs in users for p in pairs for row in (p.liked, p.disliked)]
        prompts = [[pair.prompt for pair in pairs] for pairs in users]
        read = read_probes(
            self.scorer, prompts, torch.stack(shown), probes, heads=all_heads(self.scorer)
        )
        return read.attention.flatten(2)


def _as_references(sample: Sample, num_references: int) -> tuple[Pair, ...]:
    """The pairs to be told apart, read as references in the order in which they were drawn."""
    return select(sample.pairs, num_references, order=range(len(sample.pairs)))
