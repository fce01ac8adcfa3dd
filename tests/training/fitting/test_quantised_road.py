"""The paper's road at toy size: 4-bit base, LoRA, a vision tower trained whole, two stages."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from recsys.scorer.adapter import merge_adapter
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.digests import weights_digest
from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from storage.identity_keys import IdentityKeys
from training.data.splits import SplitRule
from training.fitting.assembly import build_scorer
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer
from training.fitting.recipes.idefics2_8b import idefics2_8b
from training.fitting.recipes.recipe import Recipe
from training.fitting.stages import Training
from training.world.creation import create_world

QUIET = Console(quiet=True)
KEYS = IdentityKeys.of(["a key for the tests"])
SHAPE = TinyShape(
    image_px=16,
    vision_width=64,
    vision_layers=1,
    num_latents=2,
    width=128,
    layers=1,
    key_value_heads=4,
    mlp_width=128,
    vocabulary=400,
)


def toy() -> Recipe:
    """The paper's recipe with fewer steps, on a toy base; what it trains and how stays."""
    whole = idefics2_8b()

    def short(stage):
        plan = replace(stage.plan, num_steps=2, num_parts=2, validate_every=2, learning_rate=1e-2)
        return replace(stage, plan=plan)

    return replace(
        whole,
        base=replace(
            whole.base,
            dtype="float32",
            second_dtype="float32",
            geometry=SHAPE.geometry,
        ),
        split=SplitRule(held_prompts=0.2, validation_users=0.2),
        scorer=replace(whole.scorer, num_references=2, num_preference_tokens=3),
        first=short(whole.first),
        second=short(whole.second),
    )


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quantised")
    tokenizer = train_tokenizer(["three small fish"], vocabulary=SHAPE.vocabulary)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=0)
    model.save_pretrained(folder / "base")
    tokenizer.save_pretrained(folder / "base")
    database = Database(f"sqlite:///{folder / 'recsys.db'}")
    upgrade(database)
    store = HistoryStore(database, BlobStore(f"file://{folder / 'blobs'}"), KEYS)
    create_world(
        store,
        num_users=8,
        seed=1,
        truth_path=folder / "truth.npz",
        num_choices=6,
        num_prompts=12,
        images_per_prompt=4,
        size_px=32,
    )
    Training(toy(), folder / "base", store, folder / "run", console=QUIET).run()
    database.dispose()
    return folder


def test_a_checkpoint_names_the_base_it_was_trained_on(road, tmp_path) -> None:
    """Not the one of the hub that the recipe names; it loads offline, and from elsewhere."""
    for name in ("stage1", "final"):
        named = json.loads((road / "run" / name / "scorer.json").read_text())["base"]
        assert named["source"] == str(road / "base")
        assert named["revision"] is None
        assert named["weights_sha256"] == weights_digest(road / "base")
    assert json.loads((road / "run/run.json").read_text())["base"] == named
    moved = shutil.copytree(road / "base", tmp_path / "moved")
    here, there = load_scorer(road / "run/final"), load_scorer(road / "run/final", base=moved)
    assert torch.equal(scores(here), scores(there))


def scores(scorer: PreferenceScorer) -> torch.Tensor:
    images = torch.rand(6, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    references = [Reference(images[0], images[1], "a"), Reference(images[2], images[3], "b")]
    candidates = [CandidateImage(images[4], "c"), CandidateImage(images[5], "")]
    return scorer.score(scorer.prefix(references), candidates)


def test_stage_1_is_held_in_4_bits_but_for_what_is_trained_whole(road) -> None:
    model = build_scorer(toy(), road / "base").backbone.model
    kinds = {n: type(m).__name__ for n, m in model.named_modules()}
    assert any(kind == "Linear4bit" for name, kind in kinds.items() if "text_model" in name)
    vision = [kind for name, kind in kinds.items() if "vision_model" in name and "proj" in name]
    assert vision
    assert "Linear4bit" not in vision


def test_both_stages_reload(road) -> None:
    first, final = (load_scorer(road / "run" / name) for name in ("stage1", "final"))
    assert scores(first).isfinite().all()
    assert torch.equal(scores(final), scores(load_scorer(road / "run/final")))
    moved = first.preference_tokens - final.preference_tokens
    assert moved.abs().max() > 0


def test_the_vision_tower_was_trained_and_travels_with_the_adapter(road) -> None:
    final = load_scorer(road / "run/final")
    fresh = build_scorer(toy(), road / "base")
    image = torch.rand(1, 3, 16, 16) * 2 - 1
    trained, before = (s.backbone.image_tokens(image) for s in (final, fresh))
    assert not torch.allclose(trained, before, atol=1e-4)


def test_a_merged_adapter_scores_alike(road) -> None:
    scorer = load_scorer(road / "run/final")
    before = scores(scorer)
    scorer.backbone = Idefics2Backbone(merge_adapter(scorer.backbone.model))
    assert not any("lora_" in name for name, _ in scorer.named_parameters())
    torch.testing.assert_close(scores(scorer), before, rtol=1e-4, atol=1e-4)


def test_an_adapter_can_be_what_a_run_begins_with(road) -> None:
    begun = replace(toy(), base=replace(toy().base, quantization="none"))
    adapter = road / "run/final/adapter"
    scorer = build_scorer(
        replace(begun, base=replace(begun.base, adapter=str(adapter))), road / "base"
    )
    saved = dict(load_scorer(road / "run/final").named_parameters())
    for name, parameter in scorer.named_parameters():
        if "lora_" in name:
            torch.testing.assert_close(parameter, saved[name])
            assert parameter.requires_grad
