"""Pretraining of the interleaved sequences alone, from what a checkpoint carries."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from rich.console import Console

from recsys.cli.main import cli
from recsys.errors import CheckpointRefused
from recsys.scorer.checkpoint import find_checkpoint
from recsys.scorer.idefics2 import load_model
from training.fitting.pretraining.pretrain import pretrain
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.sole_run import sole_run

QUIET = Console(quiet=True)


def short() -> PretrainRecipe:
    whole = PretrainRecipe(num_prompts=20, images_per_prompt=2)
    plan = replace(whole.interleaved, num_steps=2)
    return replace(whole, interleaved=plan, interleaved_batch=2, num_references=2, num_pairs=2)


def weights(base: Path) -> dict[str, torch.Tensor]:
    return load_model(base).state_dict()


def test_what_the_base_sees_stays_and_how_it_reads_moves(tmp_path) -> None:
    base = pretrain(short(), tmp_path, console=QUIET, start="tiny")
    before, after = weights(find_checkpoint("tiny") / "base"), weights(base)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("model.text_model", "lm_head")) for name in moved)
    assert not list(tmp_path.glob("captions*"))


def test_a_checkpoint_without_its_base_is_refused(tmp_path) -> None:
    start = tmp_path / "checkpoint"
    shutil.copytree(find_checkpoint("tiny"), start, ignore=shutil.ignore_patterns("base"))
    with pytest.raises(CheckpointRefused, match="must carry its base"):
        pretrain(short(), tmp_path / "run", console=QUIET, start=start)


def test_a_folder_that_another_run_is_using_is_refused(tmp_path) -> None:
    with sole_run(tmp_path), pytest.raises(ValueError, match="another run is using"):
        pretrain(short(), tmp_path, console=QUIET, start="tiny")


def test_the_command_says_that_there_is_no_such_checkpoint(tmp_path) -> None:
    result = CliRunner().invoke(cli, ["pretrain", str(tmp_path / "run"), "--from", "nothing"])
    assert result.exit_code == 3  # not found
    assert "there is no checkpoint nothing" in result.output
