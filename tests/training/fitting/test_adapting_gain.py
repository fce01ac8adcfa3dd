"""What adapting gains is measured, and what helps is written, as `recsys adapt` does it."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from recsys.cli.main import cli
from recsys.scorer.checkpoint import load_scorer
from storage.histories import HistoryStore
from storage.records import Choice
from training.evaluation.checkpoints import ask_checkpoints

NUM_USERS, NUM_CHOICES, SIDE_PX = 80, 6, 16
NUM_STEPS = 80


def pixels_of(shade: float, rng: np.random.Generator) -> np.ndarray:
    """A square of a shade, 0 to 255, with noise of its own."""
    return np.clip(rng.normal(shade, 12, (SIDE_PX, SIDE_PX, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def people(tmp_path: Path, open_store, as_png, monkeypatch: pytest.MonkeyPatch):
    """The storage of people who all like the brighter image of two that nobody else sees."""
    monkeypatch.setenv("RECSYS_DATABASE_URL", f"sqlite:///{tmp_path / 'recsys.db'}")
    monkeypatch.setenv("RECSYS_BLOB_URL", f"file://{tmp_path / 'blobs'}")
    rng, start = np.random.default_rng(7), datetime(2026, 1, 1, tzinfo=UTC)
    with open_store(tmp_path) as store:
        for user in range(NUM_USERS):
            choices = []
            for number in range(NUM_CHOICES):
                dark, bright = rng.uniform(20, 110), rng.uniform(145, 235)
                shown = [as_png(pixels_of(shade, rng)) for shade in (bright, dark)]
                (liked, _), (passed_over, _) = shown
                at = start + timedelta(hours=number)
                choice = Choice(
                    f"u{user}", liked.sha256, (passed_over.sha256,), "a fish", at, "test"
                )
                choices.append((choice, {facts.sha256: (facts, data) for facts, data in shown}))
            store.append_many(choices)
        yield store


def test_what_helps_is_written_without_being_forced(
    people: HistoryStore, save_small, tmp_path: Path
) -> None:
    """Preference tokens say what all people share, and a model of random weights knows nothing."""
    parent, out = save_small("parent"), tmp_path / "out"
    command = ["adapt", str(parent), "--out", str(out), "--steps", str(NUM_STEPS), "--json"]
    result = CliRunner().invoke(cli, command)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    assert told["folder"] == str(out)
    assert told["decided_by"] == "model"
    assert told["is_better"]
    assert told["gain"]["low"] > 0
    before, after = load_scorer(parent), load_scorer(out)
    assert after.model_version == told["model_version"] != before.model_version
    again = ask_checkpoints(parent, out, people, blends=False).compared()
    assert again.second == after.model_version
    num_judged = again.comparison.gain.n_users
    assert num_judged == told["num_people"]["comparison"], "whoever was learned from is not asked"
    assert again.comparison.gain.value == pytest.approx(told["gain"]["value"], abs=1e-6)
    assert not (tmp_path / "out.run").exists()
