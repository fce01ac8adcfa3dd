"""The figures of `make adaptation`: of one population, and of several together."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console
from scipy.stats import ttest_1samp

from recsys.scorer.trained_on import read_trained_on
from tests.benchmarks import private
from tests.benchmarks.adaptation import (
    POPULATIONS,
    WAYS,
    Bootstrap,
    Population,
    figures,
    measured,
    table,
    together,
)
from tests.benchmarks.adapting_ways.__main__ import toy_population
from training.claims.design import DESIGN
from training.claims.people import worlds
from training.fitting.adapting.tuning import Tuning

COUNTS = ("0", "1", "2", "4", "8")


def rights(seed: int) -> dict[str, dict[str, dict[str, float]]]:
    """Of 60 people: what is adapted is a little better, what is blended much."""
    rng = np.random.default_rng(seed)
    better = {"average": -0.1, "model": 0, "adapted": 0.02, "blend": 0.1, "both": 0.11, "best": 0.3}
    return {
        way: {
            count: {f"u{user}": float(rng.normal(0.5 + gain, 0.1)) for user in range(60)}
            for count in COUNTS
        }
        for way, gain in better.items()
    }


def test_people_are_drawn_where_there_is_one_population() -> None:
    own = rights(0)
    found = figures(Bootstrap(own))
    gains = [own["both"]["8"][user] - own["blend"]["8"][user] for user in own["both"]["8"]]
    value, low, high = found["both gains 8"]
    assert value == pytest.approx(np.mean(gains))
    normal = 1.96 * np.std(gains) / np.sqrt(len(gains))
    assert (high - low) / 2 == pytest.approx(normal, rel=0.1)
    for way in WAYS:
        reached, average, best = (
            np.mean(list(own[w]["8"].values())) for w in (way, "average", "best")
        )
        assert found[f"{way} closes 8"][0] == pytest.approx((reached - average) / (best - average))


def test_populations_are_what_varies_where_there_are_several() -> None:
    """Five means have four degrees of freedom: Student's quantile is 2.78, and not 1.96."""
    found = [figures(Bootstrap(rights(seed))) for seed in range(5)]
    pooled = together(found)
    for name in ("model 0", "both gains decisively", "adapted closes 8"):
        means = [each[name][0] for each in found]
        known = ttest_1samp(means, 0).confidence_interval(0.95)
        assert pooled[name] == pytest.approx([np.mean(means), known.low, known.high])
    text = table(pooled, COUNTS)
    assert text.startswith("| references | 0 | 1 | 2 | 4 | 8 |\n| --- |")
    value, low, high = (100 * each for each in pooled["both gains 8"])
    assert f"{value:+.1f} ({low:+.1f} to {high:+.1f}) |" in text
    assert "\n\nboth gains, mean over 4 and 8: " in text
    assert text.endswith(")")


def test_who_has_fewer_references_than_are_read_counts_behind_those_they_have() -> None:
    own = rights(0)
    some = {
        way: {u: each["8"][u] + 0.05 for u in list(each["8"])[:20]} for way, each in own.items()
    }
    longer = {way: {**each, "24": some[way]} for way, each in own.items()}
    found, before = figures(Bootstrap(longer)), figures(Bootstrap(own))
    assert {name: found[name] for name in before if "decisively" not in name} == {
        name: each for name, each in before.items() if "decisively" not in name
    }
    gains = [some["both"][user] - some["blend"][user] for user in some["both"]]
    value, low, high = found["both gains 24"]
    assert value == pytest.approx(np.mean(gains))
    assert (high - low) / 2 == pytest.approx(1.96 * np.std(gains) / np.sqrt(20), rel=0.15)
    assert "both gains, mean over 4, 8 and 24: " in table(found, (*COUNTS, "24"))


def test_nobody_was_looked_at_before(tmp_path) -> None:
    drawn = [
        seed
        for place, communities in enumerate(POPULATIONS)
        for seed in Population(communities, place, 400, tmp_path).seeds
    ]
    others = {world.seed for world in worlds(DESIGN)} | {private.LEARNERS, private.JUDGES}
    told = {7301, 7302}  # docs/results/coldstart.md
    assert len(set(drawn)) == len(drawn) == 12
    assert not set(drawn) & (others | told)


@pytest.mark.slow
def test_a_population_is_measured_once(checkpoint: Path, tmp_path: Path) -> None:
    """All of it: people drawn, the checkpoint adapted, and others asked in each way."""
    population = toy_population(101, num_references=2, out=tmp_path)
    quiet, folder = Console(quiet=True), tmp_path / "measured"
    found = measured(population, str(checkpoint), folder, Tuning(num_steps=2), quiet)

    assert set(found) == {*WAYS, "average", "best"}
    asked = found["model"]["0"].keys()
    assert len(asked) == population.num_users
    for way in WAYS:
        assert list(found[way]) == ["0", "1", "2"]
        assert found[way]["0"].keys() == asked
    with population.opened() as runtime:
        record = read_trained_on(folder / "adapted", runtime.store.keys.known())
        learned, _ = (population.people(runtime, seed) for seed in population.seeds)
    assert any(record.holds(user) for user in learned)
    assert not any(record.holds(user) for user in asked)
    people = Bootstrap(found)
    assert people.of("best", "2")[0] > people.of("average", "2")[0]
    assert all(np.isfinite(people.of(way, *people.counts)).all() for way in WAYS)

    written = (folder / "rights.json").stat().st_mtime_ns
    shutil.rmtree(folder / "adapted")
    assert measured(population, "nowhere", folder, Tuning(num_steps=2), quiet) == found
    assert (folder / "rights.json").stat().st_mtime_ns == written
