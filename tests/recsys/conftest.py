"""A small scorer on disk, for whatever loads a checkpoint."""

from pathlib import Path

import pytest
import torch

from recsys.scorer.checkpoint import BaseModel, save_scorer
from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import PreferenceScorer, ScorerConfig
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer

SHAPE = TinyShape(
    image_px=16,
    patch_px=8,
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    num_latents=2,
    width=32,
    layers=2,
    heads=4,
    mlp_width=32,
    vocabulary=400,
)


@pytest.fixture(scope="session")
def small_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scorer of random weights with three preference tokens, which reads two references."""
    tokenizer = train_tokenizer(["three small fish", "a house"], vocabulary=SHAPE.vocabulary)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=3)
    base = tmp_path_factory.mktemp("base")
    model.save_pretrained(base)
    backbone = Idefics2Backbone(model)
    torch.manual_seed(1)
    scorer = PreferenceScorer(
        backbone,
        Template(tokenizer, TemplateConfig(), image=backbone.image_markup),
        geometry=SHAPE.geometry,
        config=ScorerConfig(num_references=2, num_preference_tokens=3),
    )
    folder = tmp_path_factory.mktemp("checkpoints") / "small"
    save_scorer(scorer, folder, base=BaseModel("base"), tokenizer=tokenizer, base_files=base)
    return folder
