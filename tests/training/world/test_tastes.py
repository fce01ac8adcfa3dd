from dataclasses import replace

import numpy as np
import pytest

from training.evaluation.metrics import accuracy
from training.world.communities import (
    NUM_STRONG,
    Communities,
    any_communities,
    draw_communities,
    draw_tastes,
)
from training.world.scenes import ATTRIBUTES, attributes, sample_prompt, sample_scene
from training.world.tastes import choose, posterior

NUM = len(ATTRIBUTES)
TWO_CAMPS = Communities(np.array([[1.0, 0.0], [-1.0, 0.0]]), spread=0.0, temperature=1.0)


def pairs_of(taste, num_pairs, rng, *, temperature):
    """Attributes of images liked and disliked by one person, uniformly at random."""
    shown = rng.uniform(-1, 1, (num_pairs, 2, len(taste)))
    best = np.array([choose(taste, two, rng, temperature=temperature) for two in shown], dtype=int)
    rows = np.arange(num_pairs)
    return shown[rows, best], shown[rows, 1 - best]


def agreement(scores, utilities):
    return np.corrcoef(scores, utilities)[0, 1]


def test_communities_depend_on_their_seed_alone():
    first, again, other = (
        draw_communities(seed=0),
        draw_communities(seed=0),
        draw_communities(seed=1),
    )
    assert np.array_equal(first.centers, again.centers)
    assert not np.array_equal(first.centers, other.centers)


def test_of_unknown_communities_every_taste_is_as_likely_as_its_opposite():
    centers = any_communities(300).centers
    assert len(centers) == 300 * len(draw_communities().centers)
    assert np.abs(centers.mean(axis=0)).max() < 0.1
    assert (np.abs(centers).sum(axis=1) == NUM_STRONG).all()
    np.testing.assert_allclose(np.abs(centers).mean(axis=0), NUM_STRONG / NUM, atol=0.01)


@pytest.mark.parametrize("num_communities", [1, 4, 12])
def test_each_community_has_its_strong_attributes(num_communities):
    centers = draw_communities(num_communities).centers
    assert centers.shape == (num_communities, NUM)
    assert ((centers != 0).sum(axis=1) == NUM_STRONG).all()
    assert np.ptp((centers != 0).sum(axis=0)) <= 1 or num_communities < 3


def test_no_communities_are_refused():
    with pytest.raises(ValueError, match="at least 1, got 0"):
        draw_communities(0)


def test_people_scatter_about_their_community():
    communities = draw_communities()
    tastes, community = draw_tastes(communities, 6000, np.random.default_rng(0))
    own = tastes - communities.centers[community]
    assert own.std(axis=0) == pytest.approx([communities.spread] * NUM, rel=0.05)
    assert tastes.mean(axis=0) == pytest.approx(communities.average_taste, abs=0.05)
    assert set(community.tolist()) == set(range(12))


def test_choices_follow_plackett_luce():
    rng = np.random.default_rng(0)
    shown = np.array([[0.0], [1.0], [2.0]])
    counts = np.bincount(
        [choose(np.array([0.7]), shown, rng, temperature=0.5) for _ in range(5000)], minlength=3
    )
    expected = np.exp([0.0, 1.4, 2.8]) / np.exp([0.0, 1.4, 2.8]).sum()
    assert counts / 5000 == pytest.approx(expected, abs=0.03)


def test_a_choice_among_nothing_is_refused():
    with pytest.raises(ValueError, match="at least one image"):
        choose(np.ones(2), np.zeros((0, 2)), np.random.default_rng(0))


def test_one_pair_moves_the_posterior_as_bayes_says():
    # Two possible people, w = ±1; the liked image has u = ±1 more: likelihoods sigmoid(±1).
    likely = 1 / (1 + np.exp(-1.0))
    known = posterior(
        np.array([[1.0, 0.0]]),
        np.array([[0.0, 0.0]]),
        TWO_CAMPS,
        num_samples=40_000,
        rng=np.random.default_rng(0),
    )
    assert known.weights.sum() == pytest.approx(1)
    mean = likely - (1 - likely)
    assert known.mean_taste == pytest.approx([mean, 0.0], abs=0.02)


def test_without_references_the_best_guess_is_the_average_taste():
    communities, rng = draw_communities(), np.random.default_rng(0)
    images, nothing = rng.uniform(-1, 1, (50, NUM)), np.zeros((0, NUM))
    known = posterior(nothing, nothing, communities, num_samples=50_000, rng=rng)
    assert images @ known.mean_taste == pytest.approx(images @ communities.average_taste, abs=0.03)


def test_more_references_bring_the_best_guess_nearer_to_the_known_taste():
    communities, rng = draw_communities(), np.random.default_rng(1)
    tastes, _ = draw_tastes(communities, 15, rng)
    images = rng.uniform(-1, 1, (200, NUM))
    nearness = []
    for num_references in (0, 8, 80):
        near = []
        for taste in tastes:
            liked, disliked = pairs_of(taste, num_references, rng, temperature=0.1)
            known = posterior(
                liked.reshape(-1, NUM),
                disliked.reshape(-1, NUM),
                replace(communities, temperature=0.1),
                num_samples=20_000,
                rng=rng,
            )
            near.append(agreement(images @ known.mean_taste, images @ taste))
        nearness.append(np.mean(near))
    assert nearness[0] + 0.2 < nearness[1] < nearness[2] - 0.03
    assert nearness[2] > 0.9


def test_order_of_references_does_not_matter():
    rng = np.random.default_rng(2)
    liked, disliked, images = rng.uniform(-1, 1, (3, 8, NUM))
    scores = [
        images
        @ posterior(
            liked[order],
            disliked[order],
            draw_communities(),
            num_samples=500,
            rng=np.random.default_rng(3),
        ).mean_taste
        for order in (np.arange(8), np.arange(8)[::-1])
    ]
    assert scores[0] == pytest.approx(scores[1])


def test_a_very_long_history_stays_finite():
    rng = np.random.default_rng(4)
    liked, disliked = rng.uniform(-1, 1, (2, 3000, NUM))
    known = posterior(liked, disliked, draw_communities(), num_samples=100, rng=rng)
    assert np.isfinite(known.weights).all()
    assert known.weights.sum() == pytest.approx(1)


def test_no_samples_are_refused():
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="at least 1, got 0"):
        posterior(np.ones((1, NUM)), np.ones((1, NUM)), draw_communities(), num_samples=0, rng=rng)


def test_tastes_are_worth_what_the_world_promises():
    """Known taste tells about 85 % of pairs right, the average taste about 58 %."""
    communities, rng = draw_communities(), np.random.default_rng(5)
    tastes, _ = draw_tastes(communities, 4000, rng)
    liked, disliked = np.zeros((2, 4000, NUM))
    for row, taste in enumerate(tastes):
        prompt = sample_prompt(rng)
        shown = np.stack([attributes(sample_scene(prompt, rng)) for _ in range(3)]).astype(float)
        best = choose(taste, shown, rng)
        liked[row], disliked[row] = shown[best], np.delete(shown, best, axis=0)[0]
    differences = liked - disliked
    assert accuracy((differences * tastes).sum(axis=1)) == pytest.approx(0.85, abs=0.03)
    assert accuracy(differences @ communities.average_taste) == pytest.approx(0.58, abs=0.03)
