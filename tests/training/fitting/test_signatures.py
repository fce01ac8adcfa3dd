"""What signatures are fitted on is what is served, and each readout gets a projection."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from rich.console import Console

from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import Projection
from recsys.signatures.probes import Probes
from recsys.signatures.reader import SignatureReader
from training.data.features import ImageFeatures
from training.data.samples import PairTable
from training.fitting.projections import fit_projection, principal_components
from training.fitting.recipes.recipe import SignatureRecipe
from training.fitting.signatures import (
    Readings,
    draw_halves,
    fit_parts,
    fit_signatures,
    project_readings,
    read_all,
)


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    return make_scorer(seed=1, num_references=3, num_preference_tokens=4)


def picture(row: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(row)
    return torch.randint(0, 256, (3, 20, 20), generator=generator, dtype=torch.uint8)


@pytest.fixture
def features(scorer) -> ImageFeatures:
    return ImageFeatures(scorer, picture)


@pytest.fixture
def probes(features) -> Probes:
    return Probes(("a fish", "two fish", ""), features([90, 91, 92]))


def history(user: int, num_pairs: int) -> tuple[Pair, ...]:
    rows = range(20 * user, 20 * user + 2 * num_pairs, 2)
    return tuple(Pair(row, row + 1, f"{'two ' * (row % 3)}fish") for row in rows)


HISTORIES = PairTable({f"u{n}": history(n, 6 if n else 3) for n in range(7)}, ())


@pytest.mark.parametrize("num_orders", [1, 3])
def test_what_is_fitted_on_is_what_is_served(scorer, features, probes, num_orders) -> None:
    """Many users at once, of different lengths, against each user's own pass."""
    users = [pairs[: 1 + n % 3] for n, pairs in enumerate(HISTORIES.pairs.values())] * 2
    heads = ((0, 1), (1, 0))
    read = read_all(scorer, users, features, probes, heads=heads, num_orders=num_orders)
    attention = read.attention.reshape(len(users), -1)
    kinds = {
        "scores": read.scores,
        "attention": attention,
        "both": np.hstack([read.scores, attention]),
    }
    for readout, readings in kinds.items():
        width = readings.shape[1]
        any_projection = Projection(
            np.zeros(width),
            np.ones(width),
            np.eye(width)[:, :2],
            heads=heads if readout != "scores" else (),
        )
        reader = SignatureReader(
            scorer, probes, any_projection, readout=readout, num_orders=num_orders
        )
        for pairs, reading in zip(users, readings, strict=True):
            tokens = features([row for p in pairs for row in (p.liked, p.disliked)])
            served = reader.reading([pair.prompt for pair in pairs], tokens)
            np.testing.assert_allclose(reading, served, rtol=1e-4, atol=1e-5)


def test_halves_are_drawn_alike_whoever_else_is_there() -> None:
    asked = {"num_references": 3, "most_users": 100, "seed": 5}
    first, second = draw_halves(HISTORIES, **asked)
    assert len(first) == len(second) == 6, "u0 has not two of each"
    for one, other in zip(first, second, strict=True):
        assert len(one) == len(other) == 3
        assert not set(one) & set(other)
    fewer = replace(HISTORIES, pairs={u: HISTORIES.pairs[u] for u in ("u2", "u4")})
    alone = set(zip(*draw_halves(fewer, **asked), strict=True))
    assert alone <= set(zip(first, second, strict=True))
    assert len(draw_halves(HISTORIES, **{**asked, "most_users": 2})[0]) == 2
    assert draw_halves(HISTORIES, **asked) == (first, second)
    assert draw_halves(HISTORIES, **{**asked, "seed": 6}) != (first, second)


def fit(scorer, histories, features, probes) -> dict[str, Projection]:
    recipe = SignatureRecipe(num_probes=3, dimension=2)
    quiet = Console(quiet=True)
    return fit_signatures(scorer, histories, features, probes, recipe, seed=0, console=quiet)


def test_each_readout_gets_a_projection_that_a_reader_takes(scorer, features, probes) -> None:
    part = fit(scorer, HISTORIES, features, probes)
    assert list(part) == ["scores", "attention", "both"]
    assert part["attention"].heads == part["both"].heads
    for readout, made in part.items():
        reader = SignatureReader(scorer, probes, made, readout=readout)
        assert reader.dimension == 2
        vector = reader.read_tokens(["a fish"], features([3, 4]))
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)


def test_without_preference_tokens_scores_alone_get_one(make_scorer) -> None:
    bare = make_scorer(seed=1, num_references=3, num_preference_tokens=0)
    features = ImageFeatures(bare, picture)
    probes = Probes(("a fish", "two fish", ""), features([90, 91, 92]))
    assert list(fit(bare, HISTORIES, features, probes)) == ["scores"]


def test_each_part_of_the_probes_gets_a_projection_of_its_own_attention(
    scorer, features, probes
) -> None:
    recipe = SignatureRecipe(num_probes=3, probes_a_step=2, dimension=2, num_orders=1)
    asked = {"seed": 0, "console": Console(quiet=True)}
    first, last = fit_parts(scorer, HISTORIES, features, probes, recipe, **asked)
    assert first.heads == last.heads
    assert [len(first.mean), len(last.mean)] == [n * len(first.heads) * 4 for n in (2, 1)]
    halves = draw_halves(HISTORIES, num_references=3, most_users=100, seed=0)
    one, other = (
        read_all(scorer, half, features, probes, heads=first.heads).attention[:, 2].reshape(6, -1)
        for half in halves
    )
    basis = principal_components(one, other, recipe.num_components)
    alone = fit_projection(one, other, dimension=2, ridge=recipe.ridge, basis=basis)
    np.testing.assert_allclose(last.mean, alone.mean, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(last(one) @ last(other).T, alone(one) @ alone(other).T, atol=1e-3)


def test_fewer_than_four_users_with_two_halves_are_refused(scorer, features, probes) -> None:
    few = replace(HISTORIES, pairs={f"u{n}": HISTORIES.pairs[f"u{n}"] for n in range(4)})
    with pytest.raises(ValueError, match="at least 4 users with 4 pairs apart, got 3 such"):
        fit(scorer, few, features, probes)


def test_attention_that_shows_people_is_read_for_what_scores_say_of_them() -> None:
    """Scores and attention show the same planted people, with noise of their own."""
    rng = np.random.default_rng(0)
    people = rng.normal(size=(500, 3))
    shown = [rng.normal(size=(3, width)) for width in (6, 24)]

    def half(*, noise: float, shift: float) -> Readings:
        """As behind fewer references: more noise, and attention turned elsewhere."""
        scores, attention = (
            people @ each + noise * rng.normal(size=(len(people), each.shape[1])) for each in shown
        )
        return Readings(scores, (attention + shift).reshape(len(people), 6, 1, 4))

    recipe = SignatureRecipe(num_probes=6, dimension=3)
    readings = [[half(noise=n, shift=s) for _ in range(2)] for n, s in ((0.5, 0.0), (1.0, 2.0))]
    fitted = project_readings(readings, heads=((0, 0),), recipe=recipe)
    new = half(noise=0.5, shift=0.0)
    attention = new.attention.reshape(len(people), -1)
    both = np.hstack([new.scores, attention])
    vectors = {"scores": new.scores, "attention": attention, "both": both}
    true = people / np.linalg.norm(people, axis=1, keepdims=True)
    for name, reading in vectors.items():
        found = fitted[name](reading)
        turned = found @ np.linalg.lstsq(found, true, rcond=None)[0]
        assert np.corrcoef(turned.ravel(), true.ravel())[0, 1] > 0.85
        # One space: the two readouts of a person are alike, those of two people are not.
        assert (found * fitted["scores"](new.scores)).sum(axis=1).mean() > 0.8
        assert abs((found * np.roll(found, 1, axis=0)).sum(axis=1).mean()) < 0.2
    np.testing.assert_allclose(
        fitted["both"].coordinates(both),
        fitted["scores"].coordinates(new.scores) + fitted["attention"].coordinates(attention),
    )
