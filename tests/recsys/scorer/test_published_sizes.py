"""What users and images take under the published shape of Idefics2-8B, and where that is told."""

from pathlib import Path

import pytest
import torch

from recsys.images.preprocess import ImageGeometry
from recsys.scorer.config import ScorerConfig
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.registry import FAMILIES
from recsys.scorer.template import Template, TemplateConfig

FAMILY = FAMILIES["idefics2"]
PAGE = Path(__file__).parents[3] / "docs" / "howto" / "large-model.md"


@pytest.fixture(scope="module")
def scorer(published) -> PreferenceScorer:
    """As the recipe has it, in 16 bits: all shapes and no memory."""
    model = FAMILY.build_on_meta(FAMILY.published["HuggingFaceM4/idefics2-8b"])
    backbone = FAMILY.wrap(model.to(torch.bfloat16))
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
