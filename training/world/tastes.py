"""Tastes of the synthetic world's people, and what could be inferred of them from their choices.

A person weighs the attributes of an image: utility u = w · a. Tastes w come in communities; people
choose by Plackett-Luce, so of two images they like x with probability
sigmoid((u(x) − u(y)) / temperature). As the truth is known, so are the bounds of a model's
accuracy: the average taste (which ignores the user), the posterior mean given the references, and
the true taste (which errs only where the choice was random).

Axis letters: A attributes, N images, R reference pairs, S samples.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from training.world.communities import TEMPERATURE, Communities, draw_tastes


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
        tastes: shape (S, A), drawn from the communities.
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
    communities: Communities,
    *,
    num_samples: int,
    rng: np.random.Generator,
) -> Posterior:
    """The posterior by importance sampling: the communities' tastes, weighted by likelihood.

    weight ∝ Π_r sigmoid(w · (liked_r − disliked_r) / temperature).

    Args:
        liked, disliked: attributes of the reference pairs, R = 0 or more.
        communities: the prior.
        num_samples: tastes drawn, at least 1; 20,000 are plenty for 16 pairs.
        rng: draws them.

    Raises:
        ValueError: if no sample is asked for or the pairs are not paired.
    """
    if num_samples < 1:
        raise ValueError(f"num_samples must be at least 1, got {num_samples}")
    if liked.shape != disliked.shape:
        raise ValueError(f"liked and disliked must pair up, got {liked.shape}, {disliked.shape}")
    tastes, _ = draw_tastes(communities, num_samples, rng)
    logits = tastes @ (liked - disliked).T / communities.temperature
    log_weights = -np.logaddexp(0.0, -logits).sum(axis=1)
    weights = np.exp(log_weights - log_weights.max())
    return Posterior(tastes, weights / weights.sum())
