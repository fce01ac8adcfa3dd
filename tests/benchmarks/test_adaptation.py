"""The figures of `make adaptation`: of one population, and of several together."""

import numpy as np
import pytest
from scipy.stats import ttest_1samp

from tests.benchmarks import private
from tests.benchmarks.adaptation import (
    POPULATIONS,
    WAYS,
    Bootstrap,
    Population,
    figures,
    table,
    together,
)
from training.claims.design import DESIGN
from training.claims.people import worlds

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


def test_without_privacy_the_model_alone_is_compared_too(tmp_path, monkeypatch) -> None:
    """The blend would be fitted twice, for figures that no table has."""

    class Asked(Exception):
        pass

    def adapting(*_: object, **options: object) -> None:
        assert options["blends"] is False
        raise Asked

    monkeypatch.setattr(private, "Adaptation", adapting)
    monkeypatch.setattr(private, "fill", lambda *_, **__: None)
    for epsilon in (None, 8.0):
        arm = private.Arm(10, epsilon)
        with pytest.raises(Asked):
            private.measured(arm, "tiny", tmp_path, lambda checkpoint: {}, {}, 7)
