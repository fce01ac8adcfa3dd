"""Stage 2 begins with a stage 1 over the base that it is given, or not at all."""

import json
import shutil
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file

from recsys.errors import CheckpointRefused
from recsys.scorer.base_model import CARRIED, BaseModel
from recsys.scorer.checkpoint import find_checkpoint
from recsys.scorer.digests import files_digest
from recsys.scorer.trained_on import read_trained_on
from training.fitting.first_stage import check_first_stage

SHIPPED = find_checkpoint("tiny")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return shutil.copytree(SHIPPED / "base", tmp_path / "base")


def checkpoint(folder: Path, base: Path, kind: str) -> Path:
    """The shipped checkpoint without its signatures, its base carried, or named in some way."""
    shutil.copytree(SHIPPED, folder, ignore=shutil.ignore_patterns("signature"))
    named = {
        "carried": BaseModel(CARRIED),
        "by weights": BaseModel(str(base)).known_by(base),
        "by files": BaseModel("a hub id", digest=files_digest(base)),
        "by commit": BaseModel("a hub id", "c0ffee"),
        "by name": BaseModel("a hub id"),
    }[kind]
    values = json.loads((folder / "scorer.json").read_text())
    (folder / "scorer.json").write_text(json.dumps({**values, "base": named.to_json()}))
    return folder


def check(stage1: Path, base: Path, named: BaseModel) -> None:
    parts = read_trained_on(stage1).parts
    check_first_stage(stage1, parts, base=named, files=base)


@pytest.mark.parametrize("kind", ["carried", "by weights", "by files"])
def test_a_stage_1_over_another_base_is_refused(tmp_path, base, kind) -> None:
    stage1 = checkpoint(tmp_path / "stage1", base, kind)
    check(stage1, base, BaseModel(CARRIED))
    check(stage1, base, BaseModel("elsewhere").known_by(base))
    other = shutil.copytree(base, tmp_path / "other")
    weights = load_file(base / "model.safetensors")
    name = min(weights)
    save_file({**weights, name: weights[name] + 1}, other / "model.safetensors", {"format": "pt"})
    for named in (BaseModel(CARRIED), BaseModel("elsewhere").known_by(other)):
        with pytest.raises(CheckpointRefused, match=f"for another base than {other}: it needs"):
            check(stage1, other, named)


@pytest.mark.parametrize(
    ("kind", "remedy"),
    [
        ("by commit", "give --base a hub id --set base.revision=c0ffee, or train stage 1 anew"),
        ("by name", "train stage 1 anew"),
    ],
)
def test_a_stage_1_that_does_not_tell_its_base_is_refused(tmp_path, base, kind, remedy) -> None:
    stage1 = checkpoint(tmp_path / "stage1", base, kind)
    for named in (BaseModel(CARRIED), BaseModel("a hub id"), BaseModel("a hub id", "decaf")):
        with pytest.raises(CheckpointRefused, match=f"without a digest of its weights: {remedy}$"):
            check(stage1, base, named)


def test_a_stage_1_over_the_same_commit_of_the_hub_is_taken(tmp_path, base) -> None:
    check(checkpoint(tmp_path / "stage1", base, "by commit"), base, BaseModel("a hub id", "c0ffee"))


def test_what_a_run_ended_with_is_no_stage_1(base) -> None:
    with pytest.raises(ValueError, match="must be a stage 1, and is what a run ended with"):
        check(SHIPPED, base, BaseModel(CARRIED))
