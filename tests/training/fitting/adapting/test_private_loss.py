"""Differential privacy: what is accounted for, and what one person can do to a gradient."""

import math
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import kstest, norm

from recsys.errors import PreconditionFailed
from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer
from training.data.batches import Batches, batches
from training.data.encoding import Encoded
from training.data.samples import PairTable
from training.fitting.adapting.privacy import (
    WITHOUT_NOISE,
    Mechanism,
    Privacy,
    epsilon_of,
    mechanism_for,
)
from training.fitting.adapting.private_loss import clipped, private_loss
from training.fitting.adapting.secret import Secret, secret_of
from training.fitting.assembly import second_parameters, train_only

SECRET = Secret(bytes(range(32)))
EVERYBODY = Mechanism(8.0, 1e-3, 0.0, clip=1e-5, sampling_rate=1.0, num_steps=1, num_people=9)


def table(num_users: int) -> PairTable:
    """Each with six pairs among images of all."""
    rng = np.random.default_rng(0)
    pairs = {
        f"user {user}": tuple(
            Pair(*map(int, rng.choice(40, 2, replace=False)), "a fish", float(number), number, 0)
            for number in range(6)
        )
        for user in range(num_users)
    }
    return PairTable(pairs, tuple(map(str, range(40))))


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    made = make_scorer(num_references=2, num_preference_tokens=3)
    train_only(made, second_parameters(made))
    return made


@pytest.fixture(scope="module")
def gradient_of(scorer: PreferenceScorer) -> Callable[..., np.ndarray]:
    """Given people, what is done, and a step: the sum of gradients that the trainer would get.

    The tokens of 40 images are numbers, those of twelve more are not.
    """
    width = (scorer.backbone.num_image_tokens, scorer.backbone.hidden_size)
    torch.manual_seed(1)
    tokens = torch.cat([torch.rand(40, *width), torch.full((12, *width), float("nan"))])
    encoded = Encoded(tokens, {row: row for row in range(len(tokens))}, torch.device("cpu"))

    def gradient(people: PairTable, mechanism: Mechanism, step: int = 0) -> np.ndarray:
        loss_of = private_loss(scorer, drawn_of(people), encoded, mechanism, SECRET)
        loss, figures = loss_of(step, 0)
        assert figures["people"] == 0 or loss.item() > 0
        (found,) = torch.autograd.grad(loss, [scorer.preference_tokens])
        return found.double().flatten().numpy() * mechanism.people_a_step

    return gradient


def drawn_of(people: PairTable) -> Batches:
    return batches(people, num_users=4, num_pairs=2, num_references=2, fewer_references=0.5, seed=3)


@settings(deadline=None)
@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
    st.floats(1e-6, 1e3),
)
def test_no_gradient_is_longer_than_the_clip_and_none_turns(values, clip: float) -> None:
    gradient = np.array(values)
    found = clipped(gradient, clip)
    length = np.linalg.norm(gradient)
    assert np.linalg.norm(found) == pytest.approx(min(length, clip), rel=1e-9)
    assert np.allclose(found * length, gradient * np.linalg.norm(found), rtol=1e-9)


def test_a_gradient_that_is_not_finite_counts_as_zero(gradient_of) -> None:
    """NaN is above no clip: unclipped, one person would decide the sum."""
    for bad in (float("nan"), float("inf")):
        assert clipped(np.array([1.0, bad]), 0.1).tolist() == [0, 0]
    people = table(9)
    images = [Pair(row, row + 1, "a fish", float(row), row, 0) for row in range(40, 52, 2)]
    spoilt = replace(people, pairs={**people.pairs, "user 4": tuple(images)})
    others = replace(people, pairs={u: p for u, p in people.pairs.items() if u != "user 4"})
    found = gradient_of(spoilt, EVERYBODY)
    assert found == pytest.approx(gradient_of(others, EVERYBODY), rel=1e-4, abs=1e-10)


@pytest.mark.parametrize("left_out", ["user 0", "user 4", "user 8"])
def test_one_person_moves_the_sum_by_the_clip_and_no_more(gradient_of, left_out: str) -> None:
    """With the noise held as it is; else nothing could be seen."""
    everybody = table(9)
    others = replace(everybody, pairs={u: p for u, p in everybody.pairs.items() if u != left_out})
    noisy = replace(EVERYBODY, noise_multiplier=2.0)
    for mechanism in (EVERYBODY, noisy):
        moved = gradient_of(everybody, mechanism) - gradient_of(others, mechanism)
        assert np.linalg.norm(moved) == pytest.approx(mechanism.clip, rel=1e-3)
    free = replace(EVERYBODY, clip=1e6)
    moved = gradient_of(everybody, free) - gradient_of(others, free)
    assert np.linalg.norm(moved) > 2 * EVERYBODY.clip


def test_the_noise_is_normal_and_as_large_as_the_accountant_was_told(gradient_of) -> None:
    noisy = replace(EVERYBODY, noise_multiplier=3.0)
    people = table(4)
    drawn = [gradient_of(people, noisy, s) - gradient_of(people, EVERYBODY, s) for s in range(12)]
    noise = np.concatenate(drawn) / (noisy.clip * noisy.noise_multiplier)
    assert len(noise) > 1_000
    assert noise.std() == pytest.approx(1, abs=4 / np.sqrt(2 * len(noise)))
    assert kstest(noise, norm.cdf).pvalue > 1e-3
    one, other = drawn[:2]
    assert abs(np.corrcoef(one, other)[0, 1]) < 5 / np.sqrt(len(one))


def test_a_step_that_draws_nobody_is_noise_alone(gradient_of) -> None:
    nobody = replace(EVERYBODY, sampling_rate=1e-9, noise_multiplier=1.0)
    found = gradient_of(table(9), nobody)
    assert np.linalg.norm(found) == pytest.approx(
        EVERYBODY.clip * np.sqrt(len(found)), rel=5 / np.sqrt(2 * len(found))
    )


def test_each_takes_part_with_the_same_chance_apart_from_the_others() -> None:
    drawn = np.array([SECRET.takes_part(s, num_people=50, rate=0.2) for s in range(2_000)])
    assert drawn.mean(axis=0) == pytest.approx(0.2, abs=5 * np.sqrt(0.16 / 2_000))
    assert drawn.sum(axis=1).var() == pytest.approx(50 * 0.16, rel=0.2)  # of a binomial
    assert drawn.any(axis=1).all()
    assert SECRET.takes_part(0, num_people=50, rate=1.0).all()


def test_a_secret_is_the_owners_alone_and_lasts(tmp_path: Path) -> None:
    path = tmp_path / "adapt.secret"
    secret = secret_of(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert secret_of(path).key == secret.key
    assert secret.key != secret_of(tmp_path / "other.secret").key
    assert str(secret.key) not in repr(secret)
    path.write_bytes(b"short")
    with pytest.raises(ValueError, match="damaged"):
        secret_of(path)


def test_epsilon_of_everybody_in_each_step_is_that_of_the_gaussian_mechanism() -> None:
    """T steps at noise s are one at s / sqrt(T).  Balle & Wang 2018, theorem 8."""
    found = epsilon_of(4.0, 1e-5, rate=1.0, num_steps=4)
    half = norm.cdf(1 / 4 - 2 * found) - np.exp(found) * norm.cdf(-1 / 4 - 2 * found)
    assert half <= 1e-5, "it is an upper bound"
    less = found - 0.05
    assert norm.cdf(1 / 4 - 2 * less) - np.exp(less) * norm.cdf(-1 / 4 - 2 * less) > 1e-5


def test_epsilon_of_sampled_people_is_that_of_another_library() -> None:
    """dp-accounting 0.6 (Google), privacy loss distributions: 0.7864 for one in four, 4 steps."""
    found = epsilon_of(2.0, 1e-3, rate=0.25, num_steps=4)
    assert 0.7864 <= found <= 0.7864 + 0.02


def test_the_noise_is_the_least_that_keeps_what_is_asked_for() -> None:
    found = mechanism_for(Privacy(2.0), num_people=40, num_steps=4)
    assert found.sampling_rate == 1.0
    assert found.delta == 0.1 / 40
    assert 2.0 - 0.02 <= found.epsilon <= 2.0
    less = epsilon_of(0.98 * found.noise_multiplier, found.delta, rate=1.0, num_steps=4)
    assert less > 2.0


def test_without_noise_nothing_is_promised() -> None:
    found = mechanism_for(WITHOUT_NOISE, num_people=400, num_steps=4)
    assert (found.noise_multiplier, found.epsilon, found.is_private) == (0.0, math.inf, False)
    private = mechanism_for(Privacy(8.0), num_people=400, num_steps=4)
    assert private.is_private
    same = {"epsilon": found.epsilon, "noise_multiplier": found.noise_multiplier}
    assert replace(private, **same) == found, "all else is alike"


def test_fewer_people_a_step_need_less_noise_for_the_same_promise() -> None:
    some = mechanism_for(Privacy(0.5, people_a_step=10), num_people=40, num_steps=1)
    assert some.sampling_rate == 0.25
    assert some.people_a_step == 10
    everybody = mechanism_for(Privacy(0.5), num_people=40, num_steps=1)
    assert some.noise_multiplier < 0.6 * everybody.noise_multiplier


@pytest.mark.parametrize(
    ("privacy", "message"),
    [
        (lambda: Privacy(0.0), "epsilon must be 0.1 to 20, got 0"),
        (lambda: Privacy(float("nan")), "epsilon must be 0.1 to 20, got nan"),
        (lambda: Privacy(1.0, clip=0.0), "clip must be above 0"),
        (lambda: Privacy(1.0, delta=0.025), "delta must be above 0 and below .* 1/40, got 0.025"),
    ],
)
def test_what_promises_nothing_is_refused(privacy, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mechanism_for(privacy(), num_people=40, num_steps=1)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opacus.accountants", None)
    with pytest.raises(PreconditionFailed, match=r"pip install 'recsys-images\[privacy\]'"):
        epsilon_of(1.0, 1e-3, rate=1.0, num_steps=1)
