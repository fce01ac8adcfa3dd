"""What privacy costs, measured at toy size; and the table of what was measured."""

import json
import math
from pathlib import Path

import numpy as np
import pytest

from recsys.scorer.checkpoint import checkpoint_version
from recsys.scorer.trained_on import read_trained_on
from tests.benchmarks.private import Arm, Experiment, asker, gained, measured, table_of, unadapted
from training.claims.estimates import crossed

SIZES = {"num_choices": 10, "num_prompts": 40, "images_per_prompt": 4, "size_px": 32}
ARMS = (Arm(150, None), Arm(150, math.inf), Arm(150, 8.0))
NUM_JUDGES, SEEDS = 12, (0, 1)


@pytest.fixture(scope="module")
def experiment(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    """A few people with small images, and two steps."""
    out = tmp_path_factory.mktemp("private")
    return Experiment(str(checkpoint), out, num_judges=NUM_JUDGES, num_steps=2, sizes=SIZES)


@pytest.mark.slow
def test_every_way_is_measured_once_a_run(experiment: Experiment, checkpoint: Path) -> None:
    with experiment.judges() as runtime:
        ask = asker(runtime)
        before = unadapted(experiment, ask)
        found = {arm: [measured(arm, seed, experiment, ask) for seed in SEEDS] for arm in ARMS}

    assert experiment.folder.parent.name == checkpoint_version(checkpoint)[:12]
    assert list(before) == ["0", "1", "2"]
    assert len(before["0"]) == NUM_JUDGES
    told = {}
    for arm, runs in found.items():
        for seed, run in zip(SEEDS, runs, strict=True):
            folder = experiment.folder / f"{arm.name}-{seed}"
            told[arm.epsilon] = json.loads((folder / "adapted.json").read_text())
            assert told[arm.epsilon]["tuning"]["seed"] == seed
            assert told[arm.epsilon]["tuning"]["num_steps"] == 2
            assert told[arm.epsilon]["num_lenders"] == 0, "no table has figures of a blend"
            assert run["rights"].keys() == before.keys()
            assert run["rights"]["2"].keys() == before["2"].keys()
            record = read_trained_on(folder, runtime.store.keys.known())
            assert not any(record.holds(judge) for judge in before["0"])
    ordinary, noiseless, private = (told[arm.epsilon] for arm in ARMS)
    assert [each["privacy"] is None for each in (ordinary, noiseless, private)] == [
        *(True, True, False)
    ]
    # What noise is compared with has the people and the steps of the private one, all but noise.
    assert noiseless["num_people"] == private["num_people"] != ordinary["num_people"]
    for name in ("clip", "people_a_step"):
        assert noiseless["tuning"]["privacy"][name] == private["tuning"]["privacy"][name]
    card = (experiment.folder / "150-inf-0" / "MODEL_CARD.md").read_text()
    assert "priva" not in card.lower()
    assert "promises nothing to anybody" in " ".join(card.split())

    text = table_of(found, before)
    assert "| 150 | none: as without `--epsilon` | – | 2 |" in text
    assert "| 150 | ∞: clipping without noise | 0 | 2 |" in text
    assert "| 150 | 8 | " in text
    files = sorted(experiment.folder.rglob("*.json"))
    written = [path.stat().st_mtime_ns for path in files]
    again = {arm: [measured(arm, seed, experiment, asked_again) for seed in SEEDS] for arm in ARMS}
    assert table_of(again, unadapted(experiment, asked_again)) == text
    assert [path.stat().st_mtime_ns for path in files] == written


def asked_again(checkpoint: str | Path) -> dict[str, dict[str, float]]:
    raise AssertionError("what was measured is read")


def made_up(level: float, noise: float, rng: np.random.Generator) -> list[dict[str, object]]:
    """Three runs, each better or worse on everybody by its own luck."""
    luck = rng.normal(0, noise, 3)
    return [
        {
            "privacy": {"noise_multiplier": 1.5},
            "rights": {n: {f"u{user}": level + own for user in range(20)} for n in ("0", "8")},
        }
        for own in luck
    ]


def test_intervals_are_over_runs_too() -> None:
    """All judges alike, so nothing but the luck of the noise is left to vary."""
    before = {n: {f"u{user}": 0.5 for user in range(20)} for n in ("0", "8")}
    rng = np.random.default_rng(0)
    found = {Arm(400, math.inf): made_up(0.6, 0.0, rng), Arm(400, 1.0): made_up(0.6, 0.05, rng)}
    values = gained(found[Arm(400, 1.0)], before)
    assert values.shape == (3, 20)
    estimate = crossed(values)
    luck = values[:, 0]
    assert estimate.error == pytest.approx(luck.std(ddof=1) / np.sqrt(3))
    text = table_of(found, before)
    low, high = (100 * each for each in estimate.interval)
    assert f"| {100 * luck.mean():+.1f} ({low:+.1f} to {high:+.1f}) |" in text
    *_, last = text.splitlines()
    cost = 100 * (luck.mean() - 0.1)
    assert f"| {cost:+.1f} (" in last
    assert "intervals are over runs and judges" in text


def test_who_has_fewer_references_counts_over_those_they_have() -> None:
    before = {"0": {"a": 0.5, "b": 0.5}, "24": {"a": 0.5}}
    runs = [{"rights": {"0": {"a": 0.6, "b": 0.6}, "24": {"a": 0.8}}}]
    assert gained(runs, before).tolist() == [pytest.approx([0.2, 0.1])]
