"""The communities of a synthetic world: around what tastes its people's tastes lie.

Axis letters: P people, K communities, A attributes.
"""

from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float, Int

from training.world.scenes import ATTRIBUTES

NUM_COMMUNITIES = 12
NUM_STRONG = 3
STRONG_WEIGHT = 1.0
# How often a community shares the popular view of an attribute: what the average taste is worth.
SHARED_SIGN = 0.65
INDIVIDUAL_SPREAD = 0.35
TEMPERATURE = 0.5

_COMMUNITY_STREAM = 11
_SEEDS_OF_ANY = 1 << 32
"""Beyond those that anybody gives by hand."""


@dataclass(frozen=True, eq=False)
class Communities:
    """The distribution of tastes: an even mixture of normal distributions about their centers.

    Attributes:
        centers: shape (K, A), the taste at the heart of each community.
        spread: standard deviation of people about it, in every attribute, at least 0.
        temperature: of their choices, above 0.
    """

    centers: Float[np.ndarray, "K A"]
    spread: float = INDIVIDUAL_SPREAD
    temperature: float = TEMPERATURE

    @property
    def average_taste(self) -> Float[np.ndarray, " A"]:
        """The mean of all tastes, shape (A,)."""
        return np.asarray(self.centers.mean(axis=0))


def draw_communities(num_communities: int = NUM_COMMUNITIES, *, seed: int = 0) -> Communities:
    """Communities with three strong attributes each.

    Args:
        num_communities: at least 1.
        seed: decides all; the same seed gives the same communities.

    Raises:
        ValueError: if there is no community.
    """
    if num_communities < 1:
        raise ValueError(f"num_communities must be at least 1, got {num_communities}")
    rng = np.random.default_rng([seed, _COMMUNITY_STREAM])
    popular = rng.choice([-1.0, 1.0], len(ATTRIBUTES))
    centers = np.zeros((num_communities, len(ATTRIBUTES)))
    # Deal attributes like cards, so that each is strong about equally often.
    deck = _deal(num_communities, rng)
    for row, strong in zip(centers, deck, strict=True):
        agrees = np.where(rng.random(NUM_STRONG) < SHARED_SIGN, 1.0, -1.0)
        row[strong] = STRONG_WEIGHT * popular[strong] * agrees
    return Communities(centers)


@cache
def any_communities(num_sets: int = 2000) -> Communities:
    """What is known of people whose communities are not: those of many sets, all as likely.

    Args:
        num_sets: drawn, at least 1, from seeds of their own.
    """
    drawn = [draw_communities(seed=_SEEDS_OF_ANY + number).centers for number in range(num_sets)]
    return Communities(np.concatenate(drawn))


def draw_tastes(
    communities: Communities, num_people: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "P A"], Int[np.ndarray, " P"]]:
    """Tastes of people at random, shape (P, A), and the community of each."""
    community = rng.integers(len(communities.centers), size=num_people)
    own = rng.normal(0.0, communities.spread, (num_people, communities.centers.shape[1]))
    return communities.centers[community] + own, community


def _deal(num_hands: int, rng: np.random.Generator) -> list[Int[np.ndarray, " 3"]]:
    """Three different attributes for each, every attribute before any comes again."""
    hands_a_deck = len(ATTRIBUTES) // NUM_STRONG
    hands: list[Int[np.ndarray, " 3"]] = []
    while len(hands) < num_hands:
        order = rng.permutation(len(ATTRIBUTES))
        hands += list(order[: hands_a_deck * NUM_STRONG].reshape(hands_a_deck, NUM_STRONG))
    return hands[:num_hands]
