"""What users and images take under the published shape of Idefics2-8B, and where that is told."""

from pathlib import Path

import pytest
import torch
from torch import nn
from torch._subclasses.fake_tensor import FakeTensorMode
from transformers import PreTrainedTokenizerFast

from recsys.engine.memory import size_prefix_cache
from recsys.images.preprocess import ImageGeometry
from recsys.scorer.config import ScorerConfig
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.registry import FAMILIES
from recsys.scorer.template import Template, TemplateConfig
from training.fitting import rehearsal

FAMILY = FAMILIES["idefics2"]
PUBLISHED = FAMILY.published["HuggingFaceM4/idefics2-8b"]
GB = 10**9
PAGE = Path(__file__).parents[3] / "docs" / "howto" / "large-model.md"


@pytest.fixture(scope="module")
def scorer(published) -> PreferenceScorer:
    """As the recipe has it, in 16 bits: all shapes and no memory."""
    return assemble(FAMILY.build_on_meta(PUBLISHED).to(torch.bfloat16), published)


def assemble(model: nn.Module, published: PreTrainedTokenizerFast) -> PreferenceScorer:
    backbone = FAMILY.wrap(model)
    words = TemplateConfig(like="+", dislike="-", max_prompt_tokens=100)
    template = Template(published, words, image=backbone.image_markup)
    config = ScorerConfig(num_references=8, num_preference_tokens=10)
    geometry = ImageGeometry(square_px=512)
    return PreferenceScorer(backbone, template, geometry=geometry, config=config)


def test_a_warm_user_takes_keys_and_values_of_each_token(scorer: PreferenceScorer) -> None:
    """Preference tokens, the beginning, and 16 images between two fences, each with its words."""
    layers, sides, heads, width, num_bytes = 32, 2, 8, 128, 2
    num_tokens = 10 + 1 + 16 * (64 + 2 + 9 + 1 + 100)
    expected = layers * sides * heads * width * num_bytes * num_tokens
    assert scorer.max_prefix_bytes == expected
    assert f"{expected:,} bytes" in " ".join(PAGE.read_text("utf-8").split())


def test_the_tokens_of_an_image_take_half_a_mebibyte(scorer: PreferenceScorer) -> None:
    backbone = scorer.backbone
    expected = backbone.num_image_tokens * backbone.hidden_size * backbone.dtype.itemsize
    assert expected == 2**19
    assert f"{expected:,} bytes" in " ".join(PAGE.read_text("utf-8").split())


def test_the_weights_take_two_bytes_each(scorer: PreferenceScorer) -> None:
    model = scorer.backbone.model
    assert sum(each.nbytes for each in model.parameters()) == pytest.approx(16.8e9, rel=0.005)


def test_encoding_many_images_fits_beside_the_prefixes_on_24_gb(scorer, published) -> None:
    """As many as 16 at once need, for layers free what they made; counted, without memory."""
    few_layers = FAMILY.build_on_meta(FAMILY.with_layers(PUBLISHED, text=1, vision=2))
    with FakeTensorMode(), torch.no_grad():
        rehearsal._take_from_meta(few_layers, torch.bfloat16)
        encoder = assemble(few_layers.eval(), published)
        meter = rehearsal.Meter([*encoder.parameters(), *encoder.buffers()])
        images = [torch.zeros(3, 512, 512, dtype=torch.uint8) for _ in range(40)]
        with meter:
            encoder.image_features(images)
    most = meter.take_most()
    assert f"{most / GB:.1f} GB of activations" in PAGE.read_text("utf-8")
    free = 7 * GB
    prefixes = size_prefix_cache(
        None, max_prefix_bytes=scorer.max_prefix_bytes, free_bytes=free, device="cuda"
    )
    assert most < free - prefixes
