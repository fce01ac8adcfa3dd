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
from recsys.scorer.checkpoint import find_checkpoint, read_preference_tokens
from recsys.scorer.idefics2 import load_model
from training.fitting.assembly import build_scorer, has_tokens
from training.fitting.parallel import launched
from training.fitting.pretraining.pretrain import has_base, is_made_by, pretrain
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.recipes.tiny import tiny
from training.fitting.sole_run import sole_run

QUIET = Console(quiet=True)


def train(folder: str) -> None:
    """The short pretraining, in each process of a launcher."""
    pretrain(short(), Path(folder), console=QUIET, start="tiny", processes=launched())


def short() -> PretrainRecipe:
    whole = PretrainRecipe(num_prompts=20, images_per_prompt=2)
    return replace(
        whole,
        interleaved=replace(whole.interleaved, num_steps=2),
        rules=replace(whole.rules, num_sets=20, num_tastes=200),
        interleaved_pairs=8,
        num_references=2,
        few_references=2,
        num_pairs=2,
    )


def weights(base: Path) -> dict[str, torch.Tensor]:
    return load_model(base).state_dict()


def test_what_the_base_sees_stays_and_how_it_reads_moves(tmp_path) -> None:
    base = pretrain(short(), tmp_path, console=QUIET, start="tiny")
    before, after = weights(find_checkpoint("tiny") / "base"), weights(base)
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert all(name.startswith(("model.text_model", "lm_head")) for name in moved)
    assert not list(tmp_path.glob("captions*"))
    assert is_made_by(tmp_path, short(), skips_captions=True)
    assert not is_made_by(tmp_path, short()), "it has learned no captions"
    other = replace(short(), contrastive_weight=0.0)
    assert not is_made_by(tmp_path, other, skips_captions=True)


def test_a_base_is_written_whole_or_not_at_all(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of one would pass for a base, and a run would begin with other tokens than its own."""

    def stopped(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("training.fitting.pretraining.pretrain.write_preference_tokens", stopped)
        with pytest.raises(KeyboardInterrupt):
            pretrain(short(), tmp_path, console=QUIET, start="tiny")
    assert not has_base(tmp_path)
    assert not (tmp_path / "base").exists()
    assert not list(tmp_path.glob(".base*"))
    base = pretrain(short(), tmp_path, console=QUIET, start="tiny")
    assert has_tokens(base)
    assert (base / "tokenizer.json").is_file()


def test_a_base_without_preference_tokens_has_none_beside_it(tmp_path) -> None:
    recipe = replace(short(), num_preference_tokens=0)
    base = pretrain(recipe, tmp_path, console=QUIET, start="tiny")
    assert has_base(tmp_path)
    assert not has_tokens(base)
    assert is_made_by(tmp_path, recipe, skips_captions=True)
    tokens = build_scorer(replace(tiny(), token_start="base"), base).preference_tokens
    assert 0 <= tokens.min() < tokens.max() < 1, "they begin uniform"


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


@pytest.mark.slow
def test_two_processes_make_the_base_that_one_makes(launch, tmp_path) -> None:
    for number in (1, 2):
        launch(__file__, number, str(tmp_path / str(number)))
    alone, shared = (weights(tmp_path / number / "base") for number in ("1", "2"))
    for name in alone:
        torch.testing.assert_close(shared[name], alone[name], rtol=1e-3, atol=1e-4)
    tokens = [read_preference_tokens(tmp_path / number / "base") for number in ("1", "2")]
    torch.testing.assert_close(*tokens, rtol=1e-3, atol=1e-4)


def test_a_recipe_begins_with_the_tokens_beside_its_base(tmp_path) -> None:
    base = pretrain(short(), tmp_path, console=QUIET, start="tiny")
    scorer = build_scorer(tiny(), base)
    torch.testing.assert_close(scorer.preference_tokens.detach(), read_preference_tokens(base))
    fewer = replace(tiny(), scorer=replace(tiny().scorer, num_preference_tokens=3))
    with pytest.raises(ValueError, match="shape"):
        build_scorer(fewer, base)
    (base / "preference_tokens.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointRefused, match="preference_tokens"):
        build_scorer(tiny(), base)
    (base / "preference_tokens.safetensors").unlink()
    tokens = build_scorer(tiny(), base).preference_tokens
    assert tokens.shape == (tiny().scorer.num_preference_tokens, scorer.backbone.hidden_size)
    assert tokens.min() >= 0
    assert tokens.max() < 1


def test_a_value_that_the_recipe_does_not_have_is_refused(tmp_path) -> None:
    for change, what in (("nothing=1", "must name one of"), ("rules.trust=no", "a value like")):
        result = CliRunner().invoke(cli, ["pretrain", str(tmp_path / "run"), "--set", change])
        assert result.exit_code == 2
        assert what in result.output
        assert not (tmp_path / "run").exists()
