"""SmolVLM: its published size, its images, and which of its modules adapters are put on."""

import pytest
import torch

from recsys.images.preprocess import pad_batch
from recsys.scorer.adapter import LoraShape, add_adapter
from recsys.scorer.idefics3 import FAMILY

OVER = ("idefics3",)
PUBLISHED = FAMILY.published["HuggingFaceTB/SmolVLM-256M-Instruct"]


def test_the_published_shape_has_the_published_number_of_weights() -> None:
    model = FAMILY.build_on_meta(PUBLISHED)
    assert sum(each.numel() for each in model.parameters()) == 256_484_928
    assert model.model.connector.modality_projection.proj.weight.shape == (576, 12288)
    backbone = FAMILY.wrap(model)
    assert backbone.num_image_tokens == 64
    assert FAMILY.dimensions(PUBLISHED).image_places == backbone.image_markup.num_places == 67
    parts = FAMILY.parts.values()
    for name, _ in model.named_parameters():
        assert sum(mark in name for mark in parts) == 1, name


def test_padding_is_not_seen_and_any_size_is_brought_to_the_towers(model) -> None:
    backbone = FAMILY.wrap(model)
    generator = torch.Generator().manual_seed(1)
    sizes = ((24, 20), (40, 40), (16, 16))
    images = [torch.rand(3, *size, generator=generator) for size in sizes]
    together = backbone.image_tokens(*pad_batch(images))
    alone = torch.cat([backbone.image_tokens(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (FAMILY.adapter_targets, {"text_model", "modality_projection"}),
        (FAMILY.decoder_targets, {"text_model"}),
    ],
)
def test_adapters_are_put_on_decoder_and_projection(model, targets, expected) -> None:
    adapted = add_adapter(model, LoraShape(rank=2, targets=targets))
    names = [name for name, _ in adapted.named_parameters() if "lora_A" in name]
    modules = ("text_model", "modality_projection", "vision_model")
    assert {mark for name in names for mark in modules if mark in name} == expected


def test_activations_may_be_computed_again(small, tokenizer) -> None:
    gradients = []
    for recomputes in (False, True):
        backbone = FAMILY.wrap(small.build(tokenizer)).train()
        if recomputes:
            backbone.keep_no_activations()
        images = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(2))
        backbone.image_tokens(images.requires_grad_()).square().sum().backward()
        gradients.append(images.grad)
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[1], gradients[0])
