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
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys
from training.data.splits import SplitRule
from training.fitting.recipes.idefics2_8b import idefics2_8b
from training.fitting.recipes.recipe import Recipe
from training.fitting.stages import Training
from training.fitting.trainer import LossNotFinite
from training.world.creation import create_world

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
def store(tmp_path: Path) -> Iterator[HistoryStore]:
    database = Database(f"sqlite:///{tmp_path / 'recsys.db'}")
    upgrade(database)
    keys = IdentityKeys.of(["a key for the tests"])
    store = HistoryStore(database, BlobStore(f"file://{tmp_path / 'blobs'}"), keys)
    create_world(
        store,
        num_users=8,
        seed=1,
        truth_path=tmp_path / "truth.npz",
        num_choices=6,
        num_prompts=12,
        images_per_prompt=4,
        size_px=32,
    )
    yield store
    database.dispose()


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
