"""Classes of taste: planted ones are found, Bayes by hand, plain regression, rising likelihood."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from recsys.coldstart.latent_classes import LatentClasses, fit_classes, log_likelihood

SEED = st.integers(0, 2**32 - 1)


def classes_of(tastes: np.ndarray, shares: np.ndarray) -> LatentClasses:
    some = np.ones(len(shares))
    return LatentClasses(tastes, shares, some, some)


def drawn(seed: int, *, num_classes: int = 3) -> tuple[LatentClasses, np.ndarray]:
    rng = np.random.default_rng(seed)
    tastes = rng.normal(0, 1.5, (num_classes, 4))
    shares = rng.dirichlet(np.full(num_classes, 2.0))
    return classes_of(tastes, shares), rng.normal(0, 1, (6, 4))


def choose(tastes: np.ndarray, *, num_pairs: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Each row of tastes is a person's; what they chose, and whose each pair is."""
    rng = np.random.default_rng(seed)
    shown = rng.normal(0, 1, (len(tastes), num_pairs, tastes.shape[1]))
    likely = 1 / (1 + np.exp(-np.einsum("upf,uf->up", shown, tastes)))
    signs = np.where(rng.random(likely.shape) < likely, 1.0, -1.0)
    differences = (shown * signs[:, :, None]).reshape(-1, tastes.shape[1])
    return differences, np.repeat(np.arange(len(tastes)), num_pairs)


def best_taste(
    differences: np.ndarray, weights: np.ndarray, prior: np.ndarray, ridge: float
) -> np.ndarray:
    """By another's optimizer, from the definition."""

    def loss(taste: np.ndarray) -> tuple[float, np.ndarray]:
        logits = differences @ taste
        wrong = 1 / (1 + np.exp(logits))
        value = weights @ np.logaddexp(0, -logits) + ridge / 2 * ((taste - prior) ** 2).sum()
        return value, -differences.T @ (weights * wrong) + ridge * (taste - prior)

    options = {"gtol": 1e-10, "maxiter": 1000}
    return minimize(loss, prior, jac=True, method="L-BFGS-B", options=options, tol=1e-14).x


PLANTED = np.array([[3.0, 0.0, 0.0], [0.0, 3.0, 0.0], [-2.0, -2.0, 1.0]])
OF = np.repeat([0, 1, 2], [60, 30, 30])


@pytest.fixture(scope="module")
def population() -> tuple[np.ndarray, np.ndarray]:
    return choose(PLANTED[OF], num_pairs=20, seed=1)


def test_planted_classes_are_found(population) -> None:
    fitted = fit_classes(*population, num_classes=3, ridge=1.0)
    cosine = (fitted.tastes @ PLANTED.T) / np.outer(
        np.linalg.norm(fitted.tastes, axis=1), np.linalg.norm(PLANTED, axis=1)
    )
    place = cosine.argmax(axis=0)  # of each planted class, the found one
    assert sorted(place) == [0, 1, 2]
    assert cosine[place, range(3)].min() > 0.95
    assert fitted.num_users[place] == pytest.approx([60, 30, 30], abs=3)
    assert fitted.num_pairs == pytest.approx(20 * fitted.num_users)
    assert fitted.shares == pytest.approx((fitted.num_users + 1) / (120 + 3), abs=0.01)
    differences, users = population
    guessed = [fitted.belonging(differences[users == user]).argmax() for user in range(120)]
    assert np.mean(np.array(guessed) == place[OF]) > 0.95


def test_one_class_is_plain_logistic_regression(population) -> None:
    differences, users = population
    none = np.zeros(3)
    everybody = best_taste(differences, np.ones(len(differences)), none, 30.0)
    # Everybody's, and a class that is all of everybody, drawn towards it.
    expected = best_taste(differences, np.ones(len(differences)), everybody, 30.0)
    fitted = fit_classes(differences, users, num_classes=1, ridge=30.0)
    assert fitted.tastes[0] == pytest.approx(expected, abs=1e-5)
    assert fitted.shares.tolist() == [1.0]
    assert fitted.num_users.tolist() == [120]
    assert fitted.num_pairs.tolist() == [2400]
    assert fitted.belonging(differences[:7]).tolist() == [1.0]


def test_a_rare_opposite_taste_is_found_too() -> None:
    # Steps from everybody's taste to the opposite one are long: where it saturates, a plain Newton
    # step leaps over the best taste and back again.
    differences = np.concatenate([np.full((9900, 1), 3.0), np.full((100, 1), -3.0)])
    users = np.repeat(np.arange(1000), 10)
    fitted = fit_classes(differences, users, num_classes=2)
    everybody = best_taste(differences, np.ones(10_000), np.zeros(1), 30.0)
    rare = best_taste(differences[9900:], np.ones(100), everybody, 30.0)
    assert fitted.tastes.min() == pytest.approx(rare[0], abs=0.02)
    assert sorted(fitted.num_users) == pytest.approx([10, 990], abs=0.1)


def test_likelihood_with_its_pulls_never_falls_from_round_to_round(population) -> None:
    """What EM raises: the likelihood, less the pull of each taste, plus that of the shares."""
    differences, users = population
    mine = [differences[users == user] for user in range(120)]
    everybody = best_taste(differences, np.ones(len(differences)), np.zeros(3), 5.0)

    def reached(num_rounds: int) -> float:
        fitted = fit_classes(differences, users, num_classes=4, ridge=5.0, num_rounds=num_rounds)
        pull = 5.0 / 2 * ((fitted.tastes - everybody) ** 2).sum()
        return 120 * log_likelihood(fitted, mine) - pull + np.log(fitted.shares).sum()

    values = [reached(num_rounds) for num_rounds in range(7)]
    # Pairs of next to no weight are left out, which costs next to nothing.
    assert all(later > earlier - 0.05 for earlier, later in pairwise(values))
    assert values[-1] > values[0]


@settings(deadline=None, max_examples=25)
@given(SEED, st.integers(1, 4))
def test_belonging_is_bayes(seed: int, num_classes: int) -> None:
    classes, differences = drawn(seed, num_classes=num_classes)
    likely = 1 / (1 + np.exp(-classes.tastes @ differences.T))  # (K, N)
    expected = classes.shares * likely.prod(axis=1)
    belonging = classes.belonging(differences)
    assert belonging == pytest.approx(expected / expected.sum())
    assert belonging.sum() == pytest.approx(1)
    assert classes.taste(differences) == pytest.approx(belonging @ classes.tastes)
    assert classes.belonging(differences[::-1]) == pytest.approx(belonging)


@settings(deadline=None, max_examples=10)
@given(SEED)
def test_what_was_learned_first_is_what_is_known_before_the_rest(seed: int) -> None:
    classes, differences = drawn(seed)
    midway = classes_of(classes.tastes, classes.belonging(differences[:2]))
    assert midway.belonging(differences[2:]) == pytest.approx(classes.belonging(differences))


def test_by_hand_two_classes_and_one_pair() -> None:
    classes = classes_of(np.array([[np.log(3.0)], [-np.log(3.0)]]), np.array([0.25, 0.75]))
    # 1/4 * 3/4 against 3/4 * 1/4.
    assert classes.belonging(np.array([[1.0]])) == pytest.approx([0.5, 0.5])
    assert log_likelihood(classes, [np.array([[1.0]])]) == pytest.approx(np.log(3 / 8))
    two_people = [np.array([[1.0]]), np.array([[-1.0]])]
    assert log_likelihood(classes, two_people) == pytest.approx(np.log([3 / 8, 5 / 8]).mean())


def test_without_references_it_is_the_shares() -> None:
    classes, differences = drawn(3)
    assert classes.belonging(differences[:0]) == pytest.approx(classes.shares)
    assert classes.taste(differences[:0]) == pytest.approx(classes.shares @ classes.tastes)


def test_extreme_pairs_leave_belonging_finite() -> None:
    classes, differences = drawn(4)
    for huge in (1e6 * differences, np.repeat(differences, 10_000, axis=0)):
        belonging = classes.belonging(huge)
        assert np.isfinite(belonging).all()
        assert belonging.sum() == pytest.approx(1)


@settings(deadline=None, max_examples=10)
@given(SEED, st.integers(1, 12), st.integers(1, 6))
def test_any_population_gives_shares_that_sum_to_one(
    seed: int, num_users: int, num_classes: int
) -> None:
    tastes = np.random.default_rng(seed).normal(0, 2, (num_users, 2))
    fitted = fit_classes(*choose(tastes, num_pairs=3, seed=seed), num_classes=num_classes)
    assert len(fitted.shares) == min(num_classes, num_users)
    assert fitted.shares.sum() == pytest.approx(1)
    assert fitted.shares.min() > 0
    assert fitted.num_users.sum() == pytest.approx(num_users)
    assert fitted.num_pairs.sum() == pytest.approx(3 * num_users)
    assert np.isfinite(fitted.tastes).all()


def test_the_same_again_with_the_same_seed(population) -> None:
    first, again = (fit_classes(*population, num_classes=4, seed=2) for _ in range(2))
    assert np.array_equal(first.tastes, again.tastes)
    assert np.array_equal(first.shares, again.shares)


def test_identical_histories_are_one_taste() -> None:
    differences = np.tile([[1.0, 0.5], [0.2, -1.0]], (50, 1))
    fitted = fit_classes(differences, np.repeat(np.arange(50), 2), num_classes=4)
    assert fitted.shares.sum() == pytest.approx(1)
    tastes = [fitted.taste(differences[:count]) for count in range(3)]
    assert all(each == pytest.approx(tastes[0], abs=0.3) for each in tastes)
    assert (differences @ tastes[0])[0] > 0


def test_images_that_do_not_differ_tell_nothing() -> None:
    fitted = fit_classes(np.zeros((6, 2)), np.arange(6), num_classes=2)
    assert not fitted.tastes.any()


@pytest.mark.parametrize(
    ("num_pairs", "options"),
    [
        (0, {"num_classes": 1}),
        (3, {"num_classes": 0}),
        (3, {"num_classes": 1, "ridge": 0.0}),
        (3, {"num_classes": 1, "num_rounds": -1}),
    ],
)
def test_what_cannot_be_fitted_is_refused(num_pairs: int, options: dict) -> None:
    with pytest.raises(ValueError, match="classes need pairs"):
        fit_classes(np.ones((num_pairs, 2)), np.arange(num_pairs), **options)
