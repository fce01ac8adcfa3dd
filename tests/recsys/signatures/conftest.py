"""A small random scorer, people with references, and probes for everybody."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference, ScorerConfig
from recsys.scorer.template import Template, TemplateConfig
from recsys.signatures.definition import Projection
from recsys.signatures.probes import Probes, encode_probes
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
PROMPTS = ("three small fish", "", "a house " * 6)
Person = Callable[[int, int], list[Reference]]


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
    config = ScorerConfig(num_references=4, num_preference_tokens=3)
    made = PreferenceScorer(backbone, template, geometry=SMALL.geometry, config=config)
    return made.eval().requires_grad_(False)


@pytest.fixture
def candidates() -> list[CandidateImage]:
    """Probes' images are whole bytes, as stored ones are; their prompts differ in length."""
    generator = torch.Generator().manual_seed(9)
    images = torch.randint(0, 256, (5, 3, 20, 18), generator=generator, dtype=torch.uint8)
    return [
        CandidateImage(each.float() / 255, "word " * place) for place, each in enumerate(images)
    ]


@pytest.fixture
def probes(scorer, candidates) -> Probes:
    return encode_probes(scorer, candidates)


@pytest.fixture
def person() -> Person:
    """Given a seed and a number: so many references of somebody."""

    def references(seed: int, count: int) -> list[Reference]:
        generator = torch.Generator().manual_seed(seed)
        images = [torch.rand(3, 20, 24, generator=generator) for _ in range(2 * count)]
        return [
            Reference(images[2 * i], images[2 * i + 1], PROMPTS[(i + seed) % len(PROMPTS)])
            for i in range(count)
        ]

    return references


@pytest.fixture
def projection() -> Callable[..., Projection]:
    """Given what it reads: a random projection of so many numbers to three."""

    def make(width: int, heads: Sequence[tuple[int, int]] = ()) -> Projection:
        rng = np.random.default_rng(4)
        return Projection(
            rng.normal(size=width) * 0.1,
            rng.uniform(0.5, 2.0, size=width),
            rng.normal(size=(width, 3)),
            heads=tuple(heads),
        )

    return make
