"""What people in general like: a mixture of linear tastes over image features.

Latent class conditional logit (Kamakura and Russell, 1989): a person belongs to class k with
probability pi_k and prefers x to y with probability sigmoid(w_k (phi(x) - phi(y))). From one choice
on, Bayes tells which classes a person can be of, and so what others know of that taste.

Axes: N pairs, U users, K classes, F features. NumPy alone, but for k-means to begin with.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

NUM_ROUNDS = 6
_NEWTON_STEPS = 12
_HALVINGS = 30
_SMALL_STEP = 1e-9
_TOO_LITTLE = 0.02
"""Pairs of a user who belongs to a class by less than this do not move the class."""


@dataclass(frozen=True, eq=False)
class LatentClasses:
    """The classes of a population.

    Attributes:
        tastes: shape (K, F), the logit of a preference per feature.
        shares: shape (K,), pi, sums to 1.
        num_users: shape (K,), how many people each class was learned from.
        num_pairs: shape (K,), and how many of their pairs.
    """

    tastes: Float[np.ndarray, "K F"]
    shares: Float[np.ndarray, " K"]
    num_users: Float[np.ndarray, " K"]
    num_pairs: Float[np.ndarray, " K"]

    def belonging(self, differences: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " K"]:
        """How likely somebody is of each class, given own pairs; `shares` without any.

        p(k) ~ pi_k prod_n sigmoid(w_k d_n).

        Args:
            differences: features of the liked image less those of the disliked one.
        """
        likely = np.log(self.shares) + _log_likelihoods(self.tastes, differences)
        belonging: Float[np.ndarray, " K"] = np.exp(likely - np.logaddexp.reduce(likely))
        return belonging

    def taste(self, differences: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " F"]:
        """The mean taste of somebody with these pairs."""
        mean: Float[np.ndarray, " F"] = self.belonging(differences) @ self.tastes
        return mean


def fit_classes(
    differences: Float[np.ndarray, "N F"],
    users: Int[np.ndarray, " N"],
    *,
    num_classes: int,
    ridge: float = 30.0,
    num_rounds: int = NUM_ROUNDS,
    seed: int = 0,
) -> LatentClasses:
    """Fit classes by expectation-maximisation.

    The classes begin as k-means clusters of the users' mean differences. A class's taste is a
    logistic regression drawn towards everybody's by `ridge`, which itself is drawn towards none.

    Args:
        differences: features of liked less disliked, of standardised features.
        users: whose each pair is, 0 to U - 1, each with at least one.
        num_classes: K, at least 1; at most as many are made as users' mean differences differ.
        ridge: weight of the pull, above 0, in pairs.
        num_rounds: of expectation and maximisation, at least 0.
        seed: of k-means.

    Raises:
        ValueError: if there is no pair, or a number is out of range.
    """
    if len(differences) == 0 or num_classes < 1 or ridge <= 0 or num_rounds < 0:
        raise ValueError(
            "classes need pairs, at least one class, a ridge above 0 and no negative rounds, got"
            f" {len(differences)} pairs, {num_classes} classes, ridge {ridge}, {num_rounds} rounds"
        )
    num_users = int(users.max()) + 1
    nothing = np.zeros(differences.shape[1])
    everybody = drawn_weights(differences, np.ones(len(differences)), nothing, pull=ridge)
    belonging = _begin(differences, users, num_classes=num_classes, seed=seed)
    for round_ in range(num_rounds + 1):
        shares = (belonging.sum(axis=0) + 1) / (num_users + belonging.shape[1])
        tastes = _fit_tastes(differences, belonging[users], everybody, ridge)
        if round_ < num_rounds:
            belonging = _belonging_of_users(differences, users, tastes, shares)
    counts = np.bincount(users, minlength=num_users)
    return LatentClasses(tastes, shares, belonging.sum(axis=0), counts @ belonging)


def log_likelihood(
    classes: LatentClasses, differences: Sequence[Float[np.ndarray, "_ F"]]
) -> float:
    """Mean log-probability that people who were not learned from chose as they did, per person."""
    shares = np.log(classes.shares)
    told = [
        np.logaddexp.reduce(shares + _log_likelihoods(classes.tastes, each)) for each in differences
    ]
    return float(np.mean(told))


def drawn_weights(
    differences: Float[np.ndarray, "N F"],
    weights: Float[np.ndarray, " N"],
    prior: Float[np.ndarray, " F"],
    *,
    pull: float,
) -> Float[np.ndarray, " F"]:
    """Weighted logistic regression without intercept, drawn towards `prior`, by Newton's method.

    The w of least sum_n weights_n log(1 + exp(-w d_n)) + pull / 2 |w - prior|^2. A step is halved
    until it does no harm: where the logits saturate, a whole one leaps over the best and back.

    Args:
        differences: features of what was preferred less those of the other.
        weights: of each pair, at least 0.
        prior: w without any pair, where the search begins.
        pull: above 0, in pairs.
    """

    def loss(found: np.ndarray) -> float:
        away = found - prior
        return float(weights @ np.logaddexp(0, -(differences @ found)) + pull / 2 * (away @ away))

    found, least = prior, loss(prior)
    for _ in range(_NEWTON_STEPS):
        wrong = _sigmoid(-(differences @ found))
        gradient = differences.T @ (weights * wrong) - pull * (found - prior)
        curvature = (differences.T * (weights * wrong * (1 - wrong))) @ differences
        step = np.linalg.solve(curvature + pull * np.eye(len(prior)), gradient)
        for _ in range(_HALVINGS):
            if (now := loss(found + step)) <= least:
                found, least = found + step, now
                break
            step = step / 2
        if np.abs(step).max(initial=0.0) < _SMALL_STEP:
            break
    return found


def _begin(
    differences: Float[np.ndarray, "N F"],
    users: Int[np.ndarray, " N"],
    *,
    num_classes: int,
    seed: int,
) -> Float[np.ndarray, "U K"]:
    from sklearn.cluster import KMeans

    num_users = int(users.max()) + 1
    sums = np.zeros((num_users, differences.shape[1]))
    np.add.at(sums, users, differences)
    means = sums / np.bincount(users, minlength=num_users)[:, None]
    num_classes = min(num_classes, len({tuple(mean) for mean in means.round(9)}))
    if num_classes == 1:  # also where there is not one feature, which k-means would refuse
        return np.ones((num_users, 1))
    labels = KMeans(num_classes, n_init=4, random_state=seed).fit(means).labels_
    belonging: Float[np.ndarray, "U K"] = np.eye(num_classes)[labels]
    return belonging


def _fit_tastes(
    differences: Float[np.ndarray, "N F"],
    belonging: Float[np.ndarray, "N K"],
    everybody: Float[np.ndarray, " F"],
    ridge: float,
) -> Float[np.ndarray, "K F"]:
    tastes = []
    for weight in belonging.T:
        enough = weight > _TOO_LITTLE
        mine, by_how_much = differences[enough], weight[enough]
        tastes.append(drawn_weights(mine, by_how_much, everybody, pull=ridge))
    return np.stack(tastes)


def _belonging_of_users(
    differences: Float[np.ndarray, "N F"],
    users: Int[np.ndarray, " N"],
    tastes: Float[np.ndarray, "K F"],
    shares: Float[np.ndarray, " K"],
) -> Float[np.ndarray, "U K"]:
    likely = np.zeros((int(users.max()) + 1, len(tastes)))
    np.add.at(likely, users, -np.logaddexp(0, -(differences @ tastes.T)))
    likely += np.log(shares)
    likely -= np.logaddexp.reduce(likely, axis=1, keepdims=True)
    belonging: Float[np.ndarray, "U K"] = np.exp(likely)
    return belonging


def _log_likelihoods(
    tastes: Float[np.ndarray, "K F"], differences: Float[np.ndarray, "N F"]
) -> Float[np.ndarray, " K"]:
    likely: Float[np.ndarray, " K"] = -np.logaddexp(0, -(differences @ tastes.T)).sum(axis=0)
    return likely


def _sigmoid(logits: Float[np.ndarray, "*N"]) -> Float[np.ndarray, "*N"]:
    likely: Float[np.ndarray, "*N"] = np.exp(-np.logaddexp(0, -logits))
    return likely
