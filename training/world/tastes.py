"""Tastes of the synthetic world's people, and what could be inferred of them from their choices.

A person weighs the attributes of an image: utility u = w · a. Tastes w come in communities; people
choose by Plackett-Luce, so of two images they like x with probability
sigmoid((u(x) − u(y)) / temperature). As the truth is known, so are the bounds of a model's
accuracy: the average taste (which ignores the user), the posterior mean given the references, and
the true taste (which errs only where the choice was random).

Axis letters: P people, K communities, A attributes, N images, R reference pairs, S samples.
"""

from dataclasses import dataclass

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

_POPULATION_STREAM = 11


@dataclass(frozen=True, eq=False)
class Population:
    """The distribution of tastes: an even mixture of normal distributions about the communities.

    Attributes:
        communities: shape (K, A), the taste at the heart of each community.
        spread: standard deviation of people about it, in every attribute, at least 0.
        temperature: of their choices, above 0.
    """

    communities: Float[np.ndarray, "K A"]
    spread: float = INDIVIDUAL_SPREAD
    temperature: float = TEMPERATURE

    @property
    def average_taste(self) -> Float[np.ndarray, " A"]:
        """The mean of all tastes, shape (A,)."""
        return np.asarray(self.communities.mean(axis=0))


def draw_population(num_communities: int = NUM_COMMUNITIES, *, seed: int = 0) -> Population:
    """Communities with three strong attributes each.

    Args:
        num_communities: at least 1.
        seed: decides all; the same seed gives the same communities.

    Raises:
        ValueError: if there is no community.
    """
    if num_communities < 1:
        raise ValueError(f"num_communities must be at least 1, got {num_communities}")
    rng = np.random.default_rng([seed, _POPULATION_STREAM])
    popular = rng.choice([-1.0, 1.0], len(ATTRIBUTES))
    communities = np.zeros((num_communities, len(ATTRIBUTES)))
    # Deal attributes like cards, so that each is strong about equally often.
    deck = _deal(num_communities, rng)
    for row, strong in zip(communities, deck, strict=True):
        agrees = np.where(rng.random(NUM_STRONG) < SHARED_SIGN, 1.0, -1.0)
        row[strong] = STRONG_WEIGHT * popular[strong] * agrees
    return Population(communities)


def draw_tastes(
    population: Population, num_people: int, rng: np.random.Generator
) -> tuple[Float[np.ndarray, "P A"], Int[np.ndarray, " P"]]:
    """Tastes of people at random, shape (P, A), and the community of each."""
    community = rng.integers(len(population.communities), size=num_people)
    own = rng.normal(0.0, population.spread, (num_people, population.communities.shape[1]))
    return population.communities[community] + own, community


def choose(
    taste: Float[np.ndarray, " A"],
    shown: Float[np.ndarray, "N A"],
    rng: np.random.Generator,
    *,
    temperature: float = TEMPERATURE,
) -> int:
    """Which of the images shown a person likes best, by Plackett-Luce.

    Adding Gumbel noise to u / temperature and taking the largest draws exactly from
    P(i) = exp(u_i / temperature) / Σ_j exp(u_j / temperature).

    Args:
        taste: weights.
        shown: attributes of the images, at least one.
        rng: draws the Gumbel noise.
        temperature: above 0; the higher, the more random the choice.

    Raises:
        ValueError: if nothing is shown.
    """
    if len(shown) == 0:
        raise ValueError("a choice needs at least one image, got none")
    return int(np.argmax(shown @ taste / temperature + rng.gumbel(size=len(shown))))


@dataclass(frozen=True, eq=False)
class Posterior:
    """A person's taste given their references: weighted samples.

    Attributes:
        tastes: shape (S, A), drawn from the population.
        weights: shape (S,), sum to 1.
    """

    tastes: Float[np.ndarray, "S A"]
    weights: Float[np.ndarray, " S"]

    @property
    def mean_taste(self) -> Float[np.ndarray, " A"]:
        """The posterior mean, by whose utilities images are ranked best."""
        return np.asarray(self.weights @ self.tastes)


def posterior(
    liked: Float[np.ndarray, "R A"],
    disliked: Float[np.ndarray, "R A"],
    population: Population,
    *,
    num_samples: int,
    rng: np.random.Generator,
) -> Posterior:
    """The posterior by importance sampling: the population's tastes, weighted by likelihood.

    weight ∝ Π_r sigmoid(w · (liked_r − disliked_r) / temperature).

    Args:
        liked, disliked: attributes of the reference pairs, R = 0 or more.
        population: the prior.
        num_samples: tastes drawn, at least 1; 20,000 are plenty for 16 pairs.
        rng: draws them.

    Raises:
        ValueError: if no sample is asked for or the pairs are not paired.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    if liked.shape != disliked.shape:
        raise ValueError(f"liked and disliked must pair up, got {liked.shape}, {disliked.shape}")
    tastes, _ = draw_tastes(population, num_samples, rng)
    logits = tastes @ (liked - disliked).T / population.temperature
    log_weights = -np.logaddexp(0.0, -logits).sum(axis=1)
    weights = np.exp(log_weights - log_weights.max())
    return Posterior(tastes, weights / weights.sum())


def _deal(num_hands: int, rng: np.random.Generator) -> list[Int[np.ndarray, " 3"]]:
    """Three different attributes for each, every attribute before any comes again."""
    hands_a_deck = len(ATTRIBUTES) // NUM_STRONG
    hands: list[Int[np.ndarray, " 3"]] = []
    while len(hands) < num_hands:
        order = rng.permutation(len(ATTRIBUTES))
        hands += list(order[: hands_a_deck * NUM_STRONG].reshape(hands_a_deck, NUM_STRONG))
    return hands[:num_hands]
