"""A small scorer of random weights."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import PreferenceScorer, ScorerConfig
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer

SHAPE = TinyShape(
    image_px=16, vision_width=16, vision_layers=1, num_latents=2, width=32, layers=2, mlp_width=32
)


@pytest.fixture(scope="session")
def make_scorer() -> Callable[..., PreferenceScorer]:
    """Given fields of its config: a frozen scorer, in evaluation; `adapt` may change its base."""
    tokenizer = train_tokenizer(["a fish", "two fish"], vocabulary=400)
    image = tokenizer.convert_tokens_to_ids("<image>")

    def make(
        *, seed: int = 0, geometry: Any = SHAPE.geometry, adapt: Any = None, **config: Any
    ) -> PreferenceScorer:
        torch.manual_seed(seed)
        model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=0)
        backbone = Idefics2Backbone(model if adapt is None else adapt(model))
        template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
        made = PreferenceScorer(
            backbone, template, geometry=geometry, config=ScorerConfig(**config)
        )
        return made.eval().requires_grad_(False)

    return make
