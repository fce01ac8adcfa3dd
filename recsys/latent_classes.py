"""What people in general like: a mixture of linear tastes over image features.

Latent class conditional logit (Kamakura and Russell, 1989): a person belongs to class k with
probability pi_k and prefers x to y with probability sigmoid(w_k (phi(x) - phi(y))). From one choice
on, Bayes tells which classes a person can be of, and so what others know of that taste.

Axes: N pairs, U users, K classes, F features. Pure NumPy.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

NUM_ROUNDS = 6
_NEWTON_STEPS = 6
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
        num_classes: K, at least 1; at most U are made.
        ridge: weight of the pull, above 0, in pairs.
        num_rounds: of expectation and maximisation, at least 0.
        seed: of k-means.

    Raises:
        ValueError: if there is no pair, or a number is out of range.
    """
    if len(differences) == 0 or num_classes < 1 or ridge <= 0:
        raise ValueError(
            "classes need pairs, at least one class and a ridge above 0, got"
            f" {len(differences)} pairs, {num_classes} classes, ridge {ridge}"
        )
    num_users = int(users.max()) + 1
    everybody = _fit_taste(
        differences, np.ones(len(differences)), np.zeros(differences.shape[1]), ridge
    )
    belonging = _begin(differences, users, num_classes=min(num_classes, num_users), seed=seed)
    for round_ in range(num_rounds + 1):
        shares = (belonging.sum(axis=0) + 1) / (num_users + belonging.shape[1])
        tastes = _fit_tastes(differences, belonging[users], everybody, ridge)
        if round_ < num_rounds:
            belonging = _belonging_of_users(differences, users, tastes, shares)
    counts = np.bincount(users, minlength=num_users)
    return LatentClasses(tastes, shares, belonging.sum(axis=0), counts @ belonging)


def log_likelihood(
    classes: LatentClasses, differences: Sequence[Float[np.ndarray, "N F"]]
) -> float:
    """Mean log-probability that people who were not learned from chose as they did, per person."""
    shares = np.log(classes.shares)
    told = [
        np.logaddexp.reduce(shares + _log_likelihoods(classes.tastes, each)) for each in differences
    ]
    return float(np.mean(told))


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
        tastes.append(_fit_taste(differences[enough], weight[enough], everybody, ridge))
    return np.stack(tastes)


def _fit_taste(
    differences: Float[np.ndarray, "N F"],
    weights: Float[np.ndarray, " N"],
    prior: Float[np.ndarray, " F"],
    ridge: float,
) -> Float[np.ndarray, " F"]:
    """Weighted logistic regression without intercept, drawn towards `prior`, by Newton's method."""
    taste = prior
    for _ in range(_NEWTON_STEPS):
        wrong = _sigmoid(-(differences @ taste))
        gradient = differences.T @ (weights * wrong) - ridge * (taste - prior)
        curvature = (differences.T * (weights * wrong * (1 - wrong))) @ differences
        taste = taste + np.linalg.solve(curvature + ridge * np.eye(len(prior)), gradient)
    return taste


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
