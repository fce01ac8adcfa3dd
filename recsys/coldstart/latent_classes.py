"""The tastes of a population: a mixture of linear tastes over image features.

Latent class conditional logit (Kamakura and Russell, 1989): a user belongs to class k with
probability pi_k and prefers x to y with probability sigmoid(w_k (phi(x) - phi(y))). From the first
choice on, Bayes' rule gives the classes that a user may belong to.

Axes: N pairs, U users, K classes, F features.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int
from scipy.special import expit, log_expit, softmax

NUM_ROUNDS = 6
_NEWTON_STEPS = 12
_HALVINGS = 30
_SMALL_STEP = 1e-9
_TOO_LITTLE = 0.02
"""A class is not fitted to users who belong to it with less than this probability."""


@dataclass(frozen=True, eq=False)
class LatentClasses:
    """The classes of a population.

    Attributes:
        tastes: shape (K, F), the logit of a preference per feature.
        shares: shape (K,), pi, sums to 1.
        num_users: shape (K,), the expected number of users that each class was learned from.
        num_pairs: shape (K,), the expected number of their pairs.
    """

    tastes: Float[np.ndarray, "K F"]
    shares: Float[np.ndarray, " K"]
    num_users: Float[np.ndarray, " K"]
    num_pairs: Float[np.ndarray, " K"]

    def belonging(self, differences: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " K"]:
        """Return the probability of each class, given a user's pairs; `shares` without any.

        p(k) ~ pi_k prod_n sigmoid(w_k d_n).

        Args:
            differences: features of the liked image less those of the disliked one.
        """
        return np.asarray(softmax(np.log(self.shares) + _log_likelihoods(self.tastes, differences)))

    def taste(self, differences: Float[np.ndarray, "N F"]) -> Float[np.ndarray, " F"]:
        """Return the mean taste of the classes that a user with these pairs may belong to."""
        return np.asarray(self.belonging(differences) @ self.tastes)


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
    logistic regression pulled by `ridge` towards that of all users, which is pulled towards zero.

    Args:
        differences: features of liked less disliked, of standardised features.
        users: the user of each pair, 0 to U - 1, each with at least one.
        num_classes: K, at least 1; at most the number of distinct mean differences.
        ridge: weight of the penalty, above 0, in pairs.
        num_rounds: of expectation and maximisation, at least 0.
        seed: of k-means.

    Raises:
        ValueError: if there is no pair, or a number is out of range.
    """
    if len(differences) == 0 or num_classes < 1 or ridge <= 0 or num_rounds < 0:
        raise ValueError(
            "latent classes need pairs, at least one class, a ridge above 0 and num_rounds of at"
            f" least 0, got {len(differences)} pairs, {num_classes} classes, ridge {ridge},"
            f" {num_rounds} rounds"
        )
    num_users = int(users.max()) + 1
    zero = np.zeros(differences.shape[1])
    overall = penalised_weights(differences, np.ones(len(differences)), zero, penalty=ridge)
    belonging = _begin(differences, users, num_classes=num_classes, seed=seed)
    for round_ in range(num_rounds + 1):
        shares = (belonging.sum(axis=0) + 1) / (num_users + belonging.shape[1])
        tastes = _fit_tastes(differences, belonging[users], overall, ridge)
        if round_ < num_rounds:
            belonging = _belonging_of_users(differences, users, tastes, shares)
    counts = np.bincount(users, minlength=num_users)
    return LatentClasses(tastes, shares, belonging.sum(axis=0), counts @ belonging)


def log_likelihood(
    classes: LatentClasses, differences: Sequence[Float[np.ndarray, "_ F"]]
) -> float:
    """Return the mean log-probability per user of the choices of unseen users."""
    shares = np.log(classes.shares)
    logs = [
        np.logaddexp.reduce(shares + _log_likelihoods(classes.tastes, each)) for each in differences
    ]
    return float(np.mean(logs))


def penalised_weights(
    differences: Float[np.ndarray, "N F"],
    weights: Float[np.ndarray, " N"],
    prior: Float[np.ndarray, " F"],
    *,
    penalty: float,
) -> Float[np.ndarray, " F"]:
    """Weighted logistic regression without intercept, pulled towards `prior`, by Newton's method.

    Minimises sum_n weights_n log(1 + exp(-w d_n)) + penalty / 2 |w - prior|^2. A step that would
    increase the loss is halved: where logits saturate, a full Newton step overshoots. scikit-learn
    has no penalty towards a point other than zero.

    Args:
        differences: features of the preferred image less those of the other.
        weights: of each pair, at least 0.
        prior: w without any pair, where the search begins.
        penalty: above 0, in pairs.
    """

    def loss(taste: np.ndarray) -> float:
        away = taste - prior
        return float(penalty / 2 * (away @ away) - weights @ log_expit(differences @ taste))

    taste, least = prior, loss(prior)
    for _ in range(_NEWTON_STEPS):
        wrong = expit(-(differences @ taste))
        gradient = differences.T @ (weights * wrong) - penalty * (taste - prior)
        curvature = (differences.T * (weights * wrong * (1 - wrong))) @ differences
        step = np.linalg.solve(curvature + penalty * np.eye(len(prior)), gradient)
        for _ in range(_HALVINGS):
            if (now := loss(taste + step)) <= least:
                taste, least = taste + step, now
                break
            step = step / 2
        if np.abs(step).max(initial=0.0) < _SMALL_STEP:
            break
    return taste


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
    return np.asarray(np.eye(num_classes)[labels])


def _fit_tastes(
    differences: Float[np.ndarray, "N F"],
    belonging: Float[np.ndarray, "N K"],
    overall: Float[np.ndarray, " F"],
    ridge: float,
) -> Float[np.ndarray, "K F"]:
    tastes = []
    for weight in belonging.T:
        enough = weight > _TOO_LITTLE
        mine, by_how_much = differences[enough], weight[enough]
        tastes.append(penalised_weights(mine, by_how_much, overall, penalty=ridge))
    return np.stack(tastes)


def _belonging_of_users(
    differences: Float[np.ndarray, "N F"],
    users: Int[np.ndarray, " N"],
    tastes: Float[np.ndarray, "K F"],
    shares: Float[np.ndarray, " K"],
) -> Float[np.ndarray, "U K"]:
    likely = np.zeros((int(users.max()) + 1, len(tastes)))
    np.add.at(likely, users, log_expit(differences @ tastes.T))
    return np.asarray(softmax(likely + np.log(shares), axis=1))


def _log_likelihoods(
    tastes: Float[np.ndarray, "K F"], differences: Float[np.ndarray, "N F"]
) -> Float[np.ndarray, " K"]:
    return np.asarray(log_expit(differences @ tastes.T).sum(axis=0))
