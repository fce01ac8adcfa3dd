"""A base with a number that is NaN: a run names the weight, whatever the base is held in."""

import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from safetensors.torch import load_file, save_file

from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.model import PreferenceScorer
from storage.histories import HistoryStore
from training.data.splits import SplitRule
from training.fitting.recipes.idefics2_8b import idefics2_8b
from training.fitting.recipes.recipe import Recipe
from training.fitting.stages import Training
from training.fitting.trainer import LossNotFinite

SPOILT = "layers.1.mlp.down_proj"


def toy(small: PreferenceScorer, quantization: str, dtype: str) -> Recipe:
    """The paper's recipe on a base as small as this, held in this way in stage 1."""
    whole = idefics2_8b()
    return replace(
        whole,
        base=replace(
            whole.base, geometry=small.geometry, quantization=quantization, dtype=dtype, source=None
        ),
        split=SplitRule(held_prompts=0.2, validation_users=0.2),
        scorer=small.config,
        first=replace(whole.first, plan=replace(whole.first.plan, num_parts=1)),
    )


@pytest.fixture
def store(tmp_path: Path, draw_world, open_store) -> Iterator[HistoryStore]:
    with open_store(draw_world(tmp_path, {1: 8})) as store:
        yield store


@pytest.mark.parametrize(
    ("quantization", "dtype"),
    [("none", "float32"), ("none", "float16"), ("nf4", "bfloat16"), ("nf4", "float16")],
)
def test_a_frozen_weight_that_holds_nan_is_named(
    save_small, store, tmp_path, quantization, dtype
) -> None:
    small, base = save_small("small"), tmp_path / "base"
    shutil.copytree(small / "tokenizer", base, dirs_exist_ok=True)
    recipe = toy(load_scorer(small), quantization, dtype)
    weights = load_file(base / "model.safetensors")
    weights[f"model.text_model.{SPOILT}.weight"].view(-1)[70] = float("nan")
    save_file(weights, base / "model.safetensors", metadata={"format": "pt"})
    training = Training(recipe, base, store, tmp_path / "run", Console(quiet=True))
    with pytest.raises(LossNotFinite, match=f"stage1 begins with weights that .*{SPOILT}"):
        training.run()
    assert not (tmp_path / "run/stage1.bad_batch.json").exists()
