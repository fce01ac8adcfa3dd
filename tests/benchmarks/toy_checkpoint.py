"""A checkpoint of random weights that every benchmark can be tried with."""

from pathlib import Path

import torch

from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import save_scorer
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer

SHAPE = TinyShape(
    image_px=16, vision_width=16, vision_layers=1, num_latents=2, width=32, layers=2, mlp_width=32
)
NUM_REFERENCES, NUM_TOKENS = 2, 3
"""How many references it reads, and behind how many preference tokens."""


def write_toy_checkpoint(folder: Path) -> Path:
    """Write it, with its base in it.

    Args:
        folder: receives the base, and the checkpoint that is returned.
    """
    tokenizer = train_tokenizer(["a fish", "two fish"], vocabulary=400)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=0)
    model.save_pretrained(folder / "base")
    backbone = Idefics2Backbone(model)
    template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
    torch.manual_seed(0)
    config = ScorerConfig(num_references=NUM_REFERENCES, num_preference_tokens=NUM_TOKENS)
    scorer = PreferenceScorer(backbone, template, geometry=SHAPE.geometry, config=config)
    save_scorer(
        scorer,
        folder / "small",
        base=BaseModel("base"),
        tokenizer=tokenizer,
        base_files=folder / "base",
    )
    return folder / "small"
