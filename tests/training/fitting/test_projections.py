"""Projections fitted without labels: against a naive twin, a closed form, and planted people."""

import numpy as np
import pytest

from training.fitting.projections import (
    added,
    choose_heads,
    fit_projection,
    principal_components,
    regress,
)


def halves_of(rng, people, *, noise):
    """Two readings of each person: what they are, and noise of its own in each."""
    return tuple(people + noise * rng.normal(size=people.shape) for _ in range(2))


def naive_projection(first, second, *, dimension, ridge) -> np.ndarray:
    """The twin: sums over users one by one, and the eigenvectors of a plain inverse."""
    rows = [*first, *second]
    mean, scale = np.mean(rows, axis=0), np.std(rows, axis=0)
    width = len(mean)
    shared, unshared = np.zeros((width, width)), np.zeros((width, width))
    for a, b in zip(first, second, strict=True):
        one, other = (a - mean) / scale, (b - mean) / scale
        shared += (np.outer(one, other) + np.outer(other, one)) / (2 * len(first))
        unshared += np.outer(one - other, one - other) / (2 * len(first))
    within = unshared + ridge * np.eye(width)
    values, vectors = np.linalg.eig(np.linalg.inv(within) @ shared)
    order = np.argsort(-values.real)[:dimension]
    columns = []
    for index in order:
        direction, value = vectors[:, index].real, max(values[index].real, 0.0)
        direction = direction / np.sqrt(direction @ within @ direction)
        columns.append(direction * value / (1 + value))
    return np.stack(columns, axis=1)


def test_the_fit_is_that_of_a_naive_twin() -> None:
    rng = np.random.default_rng(0)
    mixed = rng.normal(size=(60, 3)) @ rng.normal(size=(3, 6)) + 2.0
    first, second = halves_of(rng, mixed, noise=0.8)
    projection = fit_projection(first, second, dimension=4, ridge=0.1)
    expected = naive_projection(first, second, dimension=4, ridge=0.1)
    signs = np.sign((projection.matrix * expected).sum(axis=0))
    np.testing.assert_allclose(projection.matrix * signs, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(projection.mean, np.concatenate([first, second]).mean(axis=0))
    np.testing.assert_allclose(projection.scale, np.concatenate([first, second]).std(axis=0))


def test_reliability_is_that_of_the_closed_form() -> None:
    """One direction: people at +1 and -1, and in each half +s or -s that the other lacks."""
    spread = 0.5
    person, chance = np.array([[1.0], [-1.0], [1.0], [-1.0]]), spread * np.ones((4, 1))
    chance[2:] *= -1
    projection = fit_projection(person + chance, person - chance, dimension=1, ridge=0.0)
    variance = 1 + spread**2  # of all eight numbers
    # Standardised: what is shared has (1 - s²) / v, what is not has 2 s² / v.
    shared, unshared = (1 - spread**2) / variance, 2 * spread**2 / variance
    ratio = shared / (unshared + 1e-6)
    expected = ratio / (1 + ratio) / np.sqrt(unshared + 1e-6)
    assert abs(projection.matrix[0, 0]) == pytest.approx(expected, rel=1e-9)


def test_planted_people_are_found_and_noise_is_not() -> None:
    rng = np.random.default_rng(1)
    axes = np.linalg.qr(rng.normal(size=(10, 10)))[0]
    people = rng.normal(size=(4000, 2)) @ axes[:2]
    loud = 3.0 * np.einsum("hnk,kf->hnf", rng.normal(size=(2, 4000, 3)), axes[2:5])
    first, second = np.stack(halves_of(rng, people, noise=0.5)) + loud
    projection = fit_projection(first, second, dimension=4, ridge=0.0)
    weights = np.linalg.norm(projection.matrix, axis=0)
    assert weights[2:].max() < 0.1 * weights[:2].min(), "two directions hold people, no more"
    seen = people + loud[0]
    project = (seen - projection.mean) / projection.scale @ projection.matrix[:, :2]
    # A linear map of the two planted axes explains what is projected; of the loud ones, nothing.
    for basis, share in ((axes[:2], 0.95), (axes[2:5], 0.05)):
        planted = seen @ basis.T
        fitted = planted @ np.linalg.lstsq(planted, project, rcond=None)[0]
        explained = 1 - ((project - fitted) ** 2).sum() / (project**2).sum()
        assert explained > share if share > 0.5 else explained < share


def test_signatures_of_two_halves_find_each_other() -> None:
    rng = np.random.default_rng(2)
    people = np.pad(rng.normal(size=(600, 8)), ((0, 0), (0, 20)))
    noise = np.repeat([0.3, 1.5], [8, 20])
    first, second = halves_of(rng, people, noise=noise)
    projection = fit_projection(first[:500], second[:500], dimension=8, ridge=0.03)
    own = np.arange(100)
    one, other = projection(first[500:]), projection(second[500:])
    assert ((one @ other.T).argmax(axis=1) == own).mean() > 0.8
    raw_one, raw_other = (
        half[500:] / np.linalg.norm(half[500:], axis=1, keepdims=True) for half in (first, second)
    )
    assert ((raw_one @ raw_other.T).argmax(axis=1) == own).mean() < 0.4


def test_pure_noise_is_not_believed_more_than_people_are() -> None:
    rng = np.random.default_rng(3)
    noise = fit_projection(*halves_of(rng, np.zeros((500, 4)), noise=1.0), dimension=4, ridge=0.0)
    assert np.linalg.norm(noise.matrix, axis=0).max() < 0.3


def test_a_constant_column_is_no_number_that_is_not_one() -> None:
    rng = np.random.default_rng(4)
    first, second = halves_of(rng, rng.normal(size=(30, 3)), noise=0.3)
    first[:, 1] = second[:, 1] = 7.0
    projection = fit_projection(first, second, dimension=3, ridge=0.0)
    assert np.isfinite(projection.matrix).all()
    assert projection.scale[1] == 1.0
    np.testing.assert_allclose(np.linalg.norm(projection(first), axis=1), 1, rtol=1e-5)


@pytest.mark.filterwarnings("error")
def test_identical_users_have_a_defined_signature() -> None:
    same = np.ones((5, 3))
    projection = fit_projection(same, same, dimension=2, ridge=0.0)
    np.testing.assert_array_equal(projection(same), np.tile([1.0, 0.0], (5, 1)))


def test_at_most_as_many_directions_as_numbers_are_kept() -> None:
    rng = np.random.default_rng(5)
    first, second = halves_of(rng, rng.normal(size=(9, 3)), noise=0.3)
    assert fit_projection(first, second, dimension=8, ridge=0.1).dimension == 3


@pytest.mark.parametrize("shapes", [((1, 3), (1, 3)), ((0, 3), (0, 3))])
def test_too_few_halves_are_refused(shapes) -> None:
    with pytest.raises(ValueError, match="both halves of at least two users"):
        fit_projection(*(np.ones(shape) for shape in shapes), dimension=1, ridge=0.0)


def test_a_basis_of_all_axes_changes_nothing() -> None:
    rng = np.random.default_rng(6)
    first, second = halves_of(rng, rng.normal(size=(50, 4)) + 3.0, noise=0.5)
    plain, turned = (
        fit_projection(first, second, dimension=2, ridge=0.1, basis=basis)
        for basis in (None, np.eye(4)[:, [2, 0, 3, 1]])
    )
    signs = np.sign((plain(first) * turned(first)).sum(axis=0))
    np.testing.assert_allclose(turned(first) * signs, plain(first), atol=1e-5)


def test_components_are_those_of_a_singular_value_decomposition() -> None:
    rng = np.random.default_rng(7)
    first, second = 5.0 + rng.normal(size=(2, 40, 6)) * np.array([1, 9, 2, 5, 1, 1])
    found = principal_components(first, second, 3)
    both = np.concatenate([first, second])
    expected = np.linalg.svd(both - both.mean(axis=0))[2][:3].T
    np.testing.assert_allclose(np.abs((found * expected).sum(axis=0)), 1, rtol=1e-9)
    assert principal_components(first, second, 99).shape == (6, 6)


def test_people_in_a_few_directions_of_many_numbers_are_found_through_components() -> None:
    """With fewer people than numbers all of these cannot be weighed against each other."""
    rng = np.random.default_rng(8)
    axes = np.linalg.qr(rng.normal(size=(400, 8)))[0].T
    people = 4.0 * rng.normal(size=(200, 8)) @ axes
    first, second = halves_of(rng, people, noise=0.5)
    fitted, own = slice(0, 100), np.arange(100)
    basis = principal_components(first[fitted], second[fitted], 8)
    project = fit_projection(first[fitted], second[fitted], dimension=8, ridge=0.03, basis=basis)
    one, other = project(first[100:]), project(second[100:])
    assert ((one @ other.T).argmax(axis=1) == own).mean() > 0.9


def planted_heads(rng, num_users=400, num_tokens=3):
    """Log-ratios of two probes, 8 heads: 6 tells well of people, 1 a little, others do not."""
    halves = rng.normal(size=(2, num_users, 2, 8, num_tokens))
    person = rng.normal(size=(num_users, 2, num_tokens))
    halves[:, :, :, 6] += 3.0 * person
    halves[:, :, :, 1] += 1.0 * person
    # What both halves show of another kind, such as their length, is no reason to be chosen.
    halves[:, :, :, 3] += 9.0 * rng.normal(size=(num_users, 2, num_tokens))
    first, second = halves - halves.mean(axis=-1, keepdims=True)
    return first, second, person.reshape(num_users, -1)


def chosen_of(first, second, target) -> tuple[int, ...]:
    return choose_heads(first, second, target, ridge=0.01)


@pytest.mark.parametrize("seed", range(5))
def test_the_planted_heads_are_chosen_best_first_and_hardly_others(seed) -> None:
    chosen = chosen_of(*planted_heads(np.random.default_rng(seed)))
    assert chosen[:2] == (6, 1)
    assert len(chosen) <= 3


def test_where_no_head_tells_of_people_the_best_one_is_kept() -> None:
    for seed in range(10):
        rng = np.random.default_rng(seed)
        halves = rng.normal(size=(2, 12, 2, 4, 3))
        assert len(chosen_of(*halves, rng.normal(size=(12, 2)))) >= 1


def test_heads_that_show_nothing_at_all_are_no_warning() -> None:
    """One preference token: every log-ratio is 0."""
    nothing = np.zeros((8, 2, 4, 1))
    assert chosen_of(nothing, nothing, np.eye(8)[:, :2]) == (0,)


def test_a_regression_is_that_of_its_normal_equations() -> None:
    rng = np.random.default_rng(9)
    readings, target = [5.0 + rng.normal(size=(30, 4)) for _ in range(3)], rng.normal(size=(30, 2))
    found = regress(readings, target, ridge=0.1)
    rows, wanted = np.concatenate(readings), np.concatenate([target] * 3)
    rows, wanted = rows - rows.mean(axis=0), wanted - wanted.mean(axis=0)
    floor = np.sqrt(0.1 * np.square(rows).sum() / 90) * np.eye(4)
    expected = np.linalg.lstsq(np.vstack([rows, floor]), np.pad(wanted, ((0, 4), (0, 0))))[0]
    np.testing.assert_allclose(found.matrix, expected, rtol=1e-9)
    np.testing.assert_allclose(found.mean, np.concatenate(readings).mean(axis=0))


def test_readings_behind_fewer_references_are_read_alike_if_they_were_fitted_on() -> None:
    """What turns with their number is not taken for a person."""
    rng = np.random.default_rng(10)
    people = rng.normal(size=(400, 1))
    turn = rng.normal(size=(1, 6))
    many = people @ np.ones((1, 6)) + 0.3 * rng.normal(size=(400, 6))
    few = many + 4.0 * turn + 0.3 * rng.normal(size=(400, 6))
    both = regress([many, few], people, ridge=0.01)
    alone = regress([many], people, ridge=0.01)
    apart = [
        np.abs(each.coordinates(few) - each.coordinates(many)).mean() for each in (both, alone)
    ]
    assert apart[0] < 0.3 * apart[1]


def test_readings_that_show_nothing_are_no_number_that_is_not_one() -> None:
    nothing = regress([np.ones((5, 3))], np.eye(5)[:, :2], ridge=0.01)
    np.testing.assert_array_equal(nothing.matrix, np.zeros((3, 2)))


def test_two_projections_side_by_side_add_their_coordinates() -> None:
    rng = np.random.default_rng(11)
    one, other = rng.normal(size=(2, 20, 3)), rng.normal(size=(2, 20, 5))
    first, second = (fit_projection(*each, dimension=2, ridge=0.1) for each in (one, other))
    reading = np.hstack([one[0], other[0]])
    expected = first.coordinates(one[0]) + second.coordinates(other[0])
    np.testing.assert_allclose(added(first, second).coordinates(reading), expected)
