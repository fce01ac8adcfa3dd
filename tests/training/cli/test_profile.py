"""`recsys train --profile` on the road as shipped: where the time goes, and nothing is kept."""

import json
import shutil
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from recsys.cli.main import cli
from recsys.scorer.checkpoint import find_checkpoint
from training.fitting.step_clock import (
    BACKWARD,
    ENCODING,
    ENCODING_BACKWARD,
    FORWARD,
    OPTIMIZER,
    PHASES,
    READING,
)

# The paper's recipe, its 4 bits, half precision and two stages, on the tiny base.
SMALL = [
    f"--set={change}"
    for change in (
        "base.geometry.square_px=64",
        "scorer.num_references=2",
        "split.validation_users=0.2",
        "split.held_prompts=0.2",
        "first.plan.num_parts=2",
        "second.plan.num_parts=2",
    )
]


@pytest.fixture
def run(tmp_path: Path, monkeypatch):
    for name, value in {
        "RECSYS_DATABASE_URL": f"sqlite:///{tmp_path / 'recsys.db'}",
        "RECSYS_BLOB_URL": f"file://{tmp_path / 'blobs'}",
        "RECSYS_IMAGE_TOKENS_FOLDER": str(tmp_path / "tokens"),
    }.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    for part in ("base", "tokenizer"):
        shutil.copytree(find_checkpoint("tiny") / part, tmp_path / "base", dirs_exist_ok=True)

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, list(arguments))

    assert call("world", "create", "--users", "12", "--choices", "14").exit_code == 0
    return call


def profiled(run, tmp_path: Path, recipe: str, *arguments: str) -> Result:
    result = run("train", recipe, "--base", str(tmp_path / "base"), "--profile", *arguments)
    assert result.exit_code == 0, result.output
    return result


@pytest.mark.parametrize("num_workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_the_papers_road_is_timed_and_nothing_of_it_stays(run, tmp_path, num_workers) -> None:
    out = tmp_path / "out"
    options = ["--profile-steps", "1", "--workers", str(num_workers), "--out", str(out), "--json"]
    values = json.loads(profiled(run, tmp_path, "idefics2_8b", *SMALL, *options).stdout)
    stages = {stage["name"]: stage for stage in values["stages"]}
    assert list(stages) == ["stage1", "stage2", "stage2, tokens kept"]
    for stage in stages.values():
        assert set(stage["phases_ms"]) == set(PHASES)
        assert sum(stage["phases_ms"].values()) == pytest.approx(stage["step_ms"])
        for phase in (READING, FORWARD, BACKWARD, OPTIMIZER):
            assert stage["phases_ms"][phase] > 0, phase
        asked = stage["asked"]
        assert asked["part_s"] == pytest.approx(asked["flops"] / (989e12 * 0.4))
        assert 0 < asked["num_images"] <= 2 * 2 * 3
        assert "data side" in stage["verdict"]
    first, _, kept = (stage["phases_ms"] for stage in stages.values())
    assert first[ENCODING] > 0
    assert first[ENCODING_BACKWARD] > 0
    assert kept[ENCODING] == kept[ENCODING_BACKWARD] == 0
    assert stages["stage1"]["rate"]["num_workers"] == num_workers
    assert stages["stage2, tokens kept"]["rate"]["source"] == "tokens on disk"

    assert not out.exists()
    assert list((tmp_path / "temporary").iterdir()) == []
    assert list((tmp_path / "tokens").rglob("*.safetensors")) == []
    assert json.loads(run("folders", "list", "--json").stdout) == []


def test_images_that_are_encoded_once_are_read_in_no_step(run, tmp_path) -> None:
    small = ["--set=first.num_users=2", "--set=second.num_users=2", "--profile-steps", "1"]
    small.append("--set=scorer.num_references=8")  # fewer than these people have pairs of
    text = " ".join(profiled(run, tmp_path, "tiny", *small).stdout.split())
    for part in ("tiny, stage1", "tiny, stage2", "waiting for images", "100.0", "FLOP/s", "40%"):
        assert part in text
    assert "The data side keeps up: a step reads no images" in text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--profile"], "--profile needs no --out"),
        (["--profile", "--dry-run"], "choose one"),
        (["--json"], "is for what --dry-run or --profile finds"),
        (["--profile", "--profile-steps", "0"], "Invalid value for '--profile-steps'"),
    ],
)
def test_a_slip_is_told_in_a_sentence(arguments: list[str], message: str) -> None:
    result = CliRunner().invoke(cli, ["train", "tiny", *arguments])
    assert result.exit_code == 2
    assert message in " ".join(result.output.split())
