"""The rules that labels of interleaved sequences follow, and what references tell of them.

A rule is a person's taste. The communities of a population are drawn anew for a step and never come
again, so nothing is learned of any one of them: what is learned is how to infer a taste from a few
choices, and how to use what is known of a population, where something is.

Axis letters: A attributes, K communities, M tastes, R references, N pairs, B sequences.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from training.fitting.pretraining.recipe import RuleRecipe
from training.world.communities import TEMPERATURE, Communities, draw_communities, draw_tastes

_FIRST_SEED = 1 << 33
"""Communities below are those of somebody's world, or of its bounds: none is drawn here."""
_NUM_SEEDS = 1 << 40


@dataclass(frozen=True, eq=False)
class Rule:
    """One person's.

    Attributes:
        taste: shape (A,).
        told_of: the population whose communities the sequence is told of; None: of none.
        is_member: whether the person is of that population.
    """

    taste: Float[np.ndarray, " A"]
    told_of: int | None
    is_member: bool


@dataclass(frozen=True, eq=False)
class Inferred:
    """What the references of a sequence tell of its person.

    Attributes:
        taste: shape (B, R + 1, A), the posterior mean given the first r references, r from 0.
        prefers_first: shape (B, N), of each pair the probability that the first is preferred, given
            all references.
    """

    taste: Float[Tensor, "B r A"]
    prefers_first: Float[Tensor, "B N"]


class Anybody:
    """People whose communities nobody knows: those of many sets, all as likely.

    Args:
        recipe: how many communities a population has.
        rng: draws the sets.
    """

    def __init__(self, recipe: RuleRecipe, rng: np.random.Generator) -> None:
        self.recipe = recipe
        sets = [self.fresh(rng).centers for _ in range(recipe.num_sets)]
        self.communities = Communities(np.concatenate(sets))

    def fresh(self, rng: np.random.Generator) -> Communities:
        """A population that was not there before."""
        number = int(rng.integers(self.recipe.fewest_communities, self.recipe.most_communities + 1))
        return draw_communities(number, seed=_FIRST_SEED + int(rng.integers(_NUM_SEEDS)))


class Populations:
    """Some populations with communities of their own, and tastes to infer from.

    Args:
        anybody: everybody else.
        rng: draws all.
        is_sure: every person is of one of these populations, and the sequence is told of it.
    """

    def __init__(
        self, anybody: Anybody, rng: np.random.Generator, *, is_sure: bool = False
    ) -> None:
        self._recipe = anybody.recipe
        if is_sure:
            self._recipe = replace(self._recipe, told=1.0, trust=1.0)
        self._anybody = anybody.communities
        self._own = [anybody.fresh(rng) for _ in range(self._recipe.num_populations)]
        number = self._recipe.num_tastes
        self._any_tastes = _tensor(draw_tastes(self._anybody, number, rng)[0])
        self._tastes = [_tensor(draw_tastes(own, number // 4, rng)[0]) for own in self._own]

    def draw(self, number: int, rng: np.random.Generator) -> list[Rule]:
        """Rules of so many people, populations in turn."""
        return [self._rule(place % len(self._own), rng) for place in range(number)]

    def _rule(self, population: int, rng: np.random.Generator) -> Rule:
        is_told = rng.random() < self._recipe.told
        is_member = is_told and rng.random() < self._recipe.trust
        source = self._own[population] if is_member else self._anybody
        taste = draw_tastes(source, 1, rng)[0][0]
        return Rule(taste, population if is_told else None, is_member)

    def prototypes(self, population: int, places: int) -> Float[Tensor, "P A"]:
        """Centers of a population's communities at P places; some twice where it has fewer."""
        centers = self._own[population].centers
        return _tensor(centers[np.arange(places) % len(centers)])

    def told(
        self,
        rules: Sequence[Rule],
        chosen: Float[Tensor, "B R A"],
        asked: Float[Tensor, "B N A"],
    ) -> Inferred:
        """The posterior of each person's taste, by importance sampling.

        The true taste stands in the place of one sample of its kind. They are drawn alike, so which
        of them is the truth has exactly this posterior, and targets are unbiased by any number of
        samples.

        Args:
            rules: of the sequences.
            chosen: attributes of the liked less the disliked image of each reference.
            asked: of the first less the second image of each pair to be told apart.
        """
        rows = [self._told_one(*each) for each in zip(rules, chosen, asked, strict=True)]
        return Inferred(
            torch.stack([taste for taste, _ in rows]), torch.stack([p for _, p in rows])
        )

    def _told_one(self, rule: Rule, chosen: Tensor, asked: Tensor) -> tuple[Tensor, Tensor]:
        tastes, log_prior = self._prior(rule)
        logits = tastes @ torch.cat([chosen, asked]).T / TEMPERATURE
        evidence = F.pad(F.logsigmoid(logits[:, : len(chosen)]).cumsum(dim=1), (1, 0))
        weights = torch.softmax(log_prior[:, None] + evidence, dim=0).T
        return weights @ tastes, weights[-1] @ torch.sigmoid(logits[:, len(chosen) :])

    def _prior(self, rule: Rule) -> tuple[Float[Tensor, "M A"], Float[Tensor, " M"]]:
        truth, trust = _tensor(rule.taste)[None], self._recipe.trust
        if rule.told_of is None:
            tastes = torch.cat([truth, self._any_tastes[1:]])
            return tastes, torch.zeros(len(tastes))
        own, others = self._tastes[rule.told_of], self._any_tastes
        if rule.is_member:
            own = torch.cat([truth, own[1:]])
        else:
            others = torch.cat([truth, others[1:]])
        if trust == 1:
            return own, torch.zeros(len(own))
        shares = torch.tensor([trust / len(own), (1 - trust) / len(others)])
        counts = torch.tensor([len(own), len(others)])
        return torch.cat([own, others]), shares.log().repeat_interleave(counts)


def _tensor(values: Float[np.ndarray, "*shape"]) -> Float[Tensor, "*shape"]:
    return torch.from_numpy(values).float()
