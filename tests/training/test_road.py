"""The whole road at toy size: world -> storage -> base -> two stages -> checkpoint -> figures."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from recsys.scorer.checkpoint import load_scorer
from storage.blobs import BlobStore
from storage.database import Database, upgrade
from storage.histories import HistoryStore
from training.evaluate import evaluate, world_bounds
from training.pretrain import pretrain
from training.recipes import PretrainRecipe, Recipe, tiny
from training.tiny_base import TinyShape
from training.train import train
from training.truth import read_truth
from training.world import create_world

QUIET = Console(quiet=True)
SHAPE = TinyShape(
    image_px=16,
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    num_latents=2,
    width=32,
    layers=2,
    heads=2,
    mlp_width=32,
    vocabulary=500,
)


def toy_pretraining() -> PretrainRecipe:
    whole = PretrainRecipe(shape=SHAPE, num_prompts=20, images_per_prompt=2)
    return replace(
        whole,
        captions=replace(whole.captions, num_steps=3),
        caption_batch=4,
        interleaved=replace(whole.interleaved, num_steps=3),
        interleaved_batch=2,
        num_references=2,
        num_pairs=2,
    )


def toy_recipe() -> Recipe:
    whole = tiny()
    first = replace(whole.first, plan=replace(whole.first.plan, num_steps=3), num_users=2)
    second = replace(whole.second, plan=replace(whole.second.plan, num_steps=3), num_users=2)
    return replace(
        whole,
        first=first,
        second=second,
        scorer=replace(whole.scorer, num_references=2, num_preference_tokens=3),
    )


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a world in storage, a base and a trained checkpoint."""
    folder = tmp_path_factory.mktemp("road")
    store = open_store(folder)
    create_world(
        store,
        num_users=4,
        seed=3,
        truth_path=folder / "truth.npz",
        num_choices=5,
        num_prompts=8,
        images_per_prompt=4,
        size_px=32,
    )
    base = pretrain(toy_pretraining(), folder / "pretrain", console=QUIET)
    train(toy_recipe(), base, store, folder / "run", geometry=SHAPE.geometry, console=QUIET)
    store.database.dispose()
    return folder


def open_store(folder: Path) -> HistoryStore:
    database = Database(f"sqlite:///{folder / 'recsys.db'}")
    upgrade(database)
    return HistoryStore(database, BlobStore(f"file://{folder / 'blobs'}"))


def test_the_second_stage_moves_the_preference_tokens_alone(road) -> None:
    first, final = (load_scorer(road / "run" / name) for name in ("stage1", "final"))
    before, after = dict(first.named_parameters()), dict(final.named_parameters())
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"preference_tokens"}
    assert first.model_version != final.model_version


def test_the_first_stage_trains_adapter_and_preference_tokens(road) -> None:
    trained = dict(load_scorer(road / "run/stage1").named_parameters())
    assert any(p.abs().sum() > 0 for n, p in trained.items() if "lora_B" in n)


def test_a_run_says_how_to_repeat_it(road) -> None:
    run = json.loads((road / "run/run.json").read_text())
    assert run["recipe"]["name"] == "tiny"
    assert run["num_users"] == 4
    assert {"torch", "transformers"} <= set(run["packages"])


def test_the_same_seed_gives_the_same_checkpoint(road, tmp_path) -> None:
    store = open_store(road)
    base = pretrain(toy_pretraining(), tmp_path / "pretrain", console=QUIET)
    again = train(
        toy_recipe(), base, store, tmp_path / "run", geometry=SHAPE.geometry, console=QUIET
    )
    store.database.dispose()
    assert load_scorer(again).model_version == load_scorer(road / "run/final").model_version


def test_figures_and_their_bounds(road) -> None:
    store = open_store(road)
    report = evaluate(load_scorer(road / "run/final"), store, console=QUIET)
    store.database.dispose()
    figures = report.figures | world_bounds(report, read_truth(road / "truth.npz"))
    assert figures["top1"].n_users == 4
    assert figures["personal"].value == pytest.approx(
        figures["top1"].value - figures["shuffled_history"].value
    )
    for name in ("top1", "world.known_taste", "world.best_possible", "world.average_taste"):
        assert 0 <= figures[name].low <= figures[name].value <= figures[name].high <= 1


def test_no_usable_user_is_said_in_a_sentence(tmp_path) -> None:
    store = open_store(tmp_path)
    with pytest.raises(ValueError, match="at least two users"):
        evaluate(_any_scorer(), store, console=QUIET)
    store.database.dispose()


def _any_scorer():
    from recsys.scorer.backbone import Backbone
    from recsys.scorer.model import PreferenceScorer, ScorerConfig
    from recsys.scorer.template import Template, TemplateConfig
    from training.tiny_base import build_model, train_tokenizer

    tokenizer = train_tokenizer(["three small fish"], vocabulary=SHAPE.vocabulary)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=0)
    template = Template(tokenizer, TemplateConfig(), num_image_tokens=SHAPE.num_latents)
    return PreferenceScorer(
        Backbone(model), template, geometry=SHAPE.geometry, config=ScorerConfig()
    )
