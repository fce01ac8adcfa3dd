"""Small random scorers, and the shipped shape's tokenizer."""

import pytest
import torch

from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference, ScorerConfig
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer

SMALL = TinyShape(
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
def tokenizer():
    return train_tokenizer(["three small fish", "a large house"], vocabulary=SMALL.vocabulary)


@pytest.fixture
def model(tokenizer):
    image = tokenizer.convert_tokens_to_ids("<image>")
    return build_model(SMALL, vocabulary=len(tokenizer), image_token=image, seed=3)


@pytest.fixture
def scorer(model, tokenizer) -> PreferenceScorer:
    torch.manual_seed(5)
    backbone = Idefics2Backbone(model)
    template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
    config = ScorerConfig(num_references=4, num_preference_tokens=3, max_packed_candidates=4)
    return PreferenceScorer(backbone, template, geometry=SMALL.geometry, config=config).eval()


def image(seed: int, height: int = 20, width: int = 24) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def references() -> list[Reference]:
    prompts = ["three small fish", "", "a house " * 40]
    return [Reference(image(2 * i), image(2 * i + 1), prompt) for i, prompt in enumerate(prompts)]


@pytest.fixture
def candidates() -> list[CandidateImage]:
    return [CandidateImage(image(100 + i, 16 + i), "word " * i) for i in range(7)]
