"""What references tell of a person, against what the world's own bounds say."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from training.fitting.pretraining._rules import Anybody, Populations, Rule
from training.fitting.pretraining.recipe import RuleRecipe
from training.world.communities import TEMPERATURE
from training.world.scenes import ATTRIBUTES

RECIPE = RuleRecipe(num_populations=2, num_sets=40, num_tastes=8000)


@pytest.fixture(scope="module")
def anybody() -> Anybody:
    return Anybody(RECIPE, np.random.default_rng(1))


def chosen_by(rule: Rule, number: int, rng: np.random.Generator) -> torch.Tensor:
    shown = rng.uniform(-1, 1, (number, len(ATTRIBUTES)))
    likes = rng.random(number) < 1 / (1 + np.exp(-shown @ rule.taste / TEMPERATURE))
    return torch.from_numpy(np.where(likes[:, None], shown, -shown)).float()


def center_of(populations: Populations, population: int) -> torch.Tensor:
    """The mean of its communities' centers, each counted once."""
    centers = populations.prototypes(population, RECIPE.most_communities)
    return torch.unique(centers, dim=0).mean(dim=0)


def test_without_references_the_prior_is_told(anybody) -> None:
    populations = Populations(anybody, np.random.default_rng(2))
    asked = torch.zeros(2, 1, len(ATTRIBUTES))
    nothing = torch.zeros(2, 0, len(ATTRIBUTES))
    taste = np.zeros(len(ATTRIBUTES))
    told = populations.told([Rule(taste, None, False), Rule(taste, 1, True)], nothing, asked)
    of_anybody = torch.from_numpy(anybody.communities.average_taste).float()
    own = center_of(populations, 1)
    torch.testing.assert_close(told.taste[0, 0], of_anybody, atol=0.03, rtol=0)
    expected = RECIPE.trust * own + (1 - RECIPE.trust) * of_anybody
    torch.testing.assert_close(told.taste[1, 0], expected, atol=0.05, rtol=0)
    torch.testing.assert_close(told.prefers_first, torch.full((2, 1), 0.5), atol=1e-3, rtol=0)


def test_the_posterior_mean_errs_least(anybody) -> None:
    """On average over people it is nearer to the truth than prior, another's and half of it."""
    rng = np.random.default_rng(3)
    errors: dict[str, list[float]] = {}
    for seed in range(12):
        populations = Populations(anybody, np.random.default_rng([4, seed]))
        rules = populations.draw(16, rng)
        chosen = torch.stack([chosen_by(rule, 8, rng) for rule in rules])
        told = populations.told(rules, chosen, chosen[:, :1])
        truth = torch.from_numpy(np.stack([rule.taste for rule in rules])).float()
        for name, guess in (
            ("posterior", told.taste[:, -1]),
            ("of half the references", told.taste[:, 4]),
            ("nothing", torch.zeros_like(truth)),
            ("another's", told.taste[:, -1].roll(1, dims=0)),
            ("half", told.taste[:, -1] / 2),
            ("twice", told.taste[:, -1] * 2),
        ):
            errors.setdefault(name, []).extend((guess - truth).square().sum(dim=1).tolist())
    means = {name: float(np.mean(values)) for name, values in errors.items()}
    assert min(means, key=means.__getitem__) == "posterior"
    assert means["posterior"] < 0.8 * means["nothing"]
    assert means["posterior"] < means["of half the references"] < means["nothing"]


def test_probabilities_are_calibrated(anybody) -> None:
    """Of pairs whose first is said to be preferred with probability p, people prefer p of them."""
    rng = np.random.default_rng(5)
    said, true = [], []
    for seed in range(20):
        populations = Populations(anybody, np.random.default_rng([6, seed]))
        rules = populations.draw(16, rng)
        chosen = torch.stack([chosen_by(rule, 6, rng) for rule in rules])
        asked = torch.from_numpy(rng.uniform(-1, 1, (16, 8, len(ATTRIBUTES)))).float()
        said.append(populations.told(rules, chosen, asked).prefers_first.flatten())
        truth = torch.from_numpy(np.stack([rule.taste for rule in rules])).float()
        true.append(torch.sigmoid((asked @ truth[:, :, None]) / TEMPERATURE).flatten())
    p, q = torch.cat(said), torch.cat(true)
    for low, high in ((0.1, 0.3), (0.3, 0.5), (0.5, 0.7), (0.7, 0.9)):
        inside = (p >= low) & (p < high)
        assert inside.sum() > 100
        assert abs(float(p[inside].mean() - q[inside].mean())) < 0.05


def test_who_is_told_and_of_whom(anybody) -> None:
    rng = np.random.default_rng(7)
    rules = Populations(anybody, rng).draw(3000, rng)
    told = [rule for rule in rules if rule.told_of is not None]
    assert len(told) / len(rules) == pytest.approx(RECIPE.told, abs=0.03)
    members = sum(rule.is_member for rule in told)
    assert members / len(told) == pytest.approx(RECIPE.trust, abs=0.03)
    assert {rule.told_of for rule in told} == {0, 1}


def test_at_first_everybody_is_of_the_population_that_is_told(anybody) -> None:
    rng = np.random.default_rng(11)
    populations = Populations(anybody, rng, is_sure=True)
    rules = populations.draw(50, rng)
    assert all(rule.is_member and rule.told_of is not None for rule in rules)
    asked = torch.zeros(50, 1, len(ATTRIBUTES))
    told = populations.told(rules, torch.zeros(50, 0, len(ATTRIBUTES)), asked)
    own = center_of(populations, 1)
    torch.testing.assert_close(told.taste[1, 0], own, atol=0.05, rtol=0)


def test_fewer_communities_than_places_come_twice(anybody) -> None:
    few = replace(RECIPE, fewest_communities=2, most_communities=2)
    people = Populations(Anybody(few, np.random.default_rng(8)), np.random.default_rng(9))
    prototypes = people.prototypes(0, 5)
    torch.testing.assert_close(prototypes[[0, 1, 0]], prototypes[[2, 3, 4]])
    assert not torch.equal(prototypes[0], prototypes[1])


def test_every_population_is_new(anybody) -> None:
    rng = np.random.default_rng(10)
    first, second = (Populations(anybody, rng).prototypes(0, 6) for _ in range(2))
    assert not torch.equal(first, second)
