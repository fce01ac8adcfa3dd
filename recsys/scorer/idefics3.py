"""Idefics3 (Laurençon et al., 2024) and SmolVLM, which is a small one: what differs from Idefics2.

An image is a square of the tower's own size; its patches are projected in groups of neighbours,
without a resampler (pixel shuffle). Images are not split into tiles, as by the authors' processor
without `do_image_splitting`. The tokenizer of SmolVLM puts no space before a piece: a template for
it has its own, as in `before_prompt="The prompt is "`.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import Idefics3Config, Idefics3ForConditionalGeneration

from recsys.images.preprocess import squares
from recsys.scorer.backbone import Dimensions, Family
from recsys.scorer.decoder import DecoderBackbone, load_observed, observe_attention
from recsys.scorer.idefics2 import (
    DECODER_TARGETS,
    FENCE_TOKEN,
    IMAGE_TOKEN,
    VISION_TOWER,
    normalise,
    tower_of,
    with_layers,
)
from recsys.scorer.precision import computing_in
from recsys.scorer.recomputation import recompute
from recsys.scorer.template import ImageMarkup

WHOLE_IMAGE_TOKEN = "<global-img>"
"""Before the tokens of a whole image, where a tile would have its place in the picture."""

ADAPTER_TARGETS = rf"({DECODER_TARGETS}|.*modality_projection\.proj)"

PARTS = {
    "vision tower": VISION_TOWER,
    "projection": "connector",
    "text model": "text_model",
    "output matrix": "lm_head",
}

PUBLISHED = {
    "HuggingFaceTB/SmolVLM-256M-Instruct": {
        "model_type": "idefics3",
        "image_token_id": 49190,
        "scale_factor": 4,
        "vision_config": {
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_hidden_layers": 12,
            "num_attention_heads": 12,
            "image_size": 512,
            "patch_size": 16,
        },
        "text_config": {
            "model_type": "llama",
            "vocab_size": 49280,
            "hidden_size": 576,
            "intermediate_size": 1536,
            "num_hidden_layers": 30,
            "num_attention_heads": 9,
            "num_key_value_heads": 3,
            "head_dim": 64,
            "max_position_embeddings": 8192,
            "rope_theta": 100000,
            "tie_word_embeddings": False,
        },
    },
}


class Idefics3Backbone(DecoderBackbone):
    """An Idefics3, with or without a PEFT adapter, as `recsys.scorer.backbone.Backbone`.

    Args:
        model: `Idefics3ForConditionalGeneration`, or a `PeftModel` around one, whose text model
            was given to `observe_attention`.
    """

    @property
    def num_image_tokens(self) -> int:
        """T, groups of patches in an image."""
        return cast(int, self.plain.model.image_seq_len)

    @property
    def image_modules(self) -> tuple[nn.Module, ...]:
        """The vision tower and the modality projection."""
        model = self.plain.model
        return cast(nn.Module, model.vision_model), cast(nn.Module, model.connector)

    @property
    def image_markup(self) -> ImageMarkup:
        """T image tokens between two fences, the first with the mark of a whole image."""
        return image_markup(self.num_image_tokens)

    def keep_no_activations(self) -> None:
        """Compute each layer's activations again in the backward pass: less memory, a third slower.

        Of the decoder, the vision tower and the modality projection. Takes effect in training mode.
        """
        model = self.plain.model
        towers = (*self.layers, *model.vision_model.encoder.layers)
        for layer in (*towers, model.connector.modality_projection):
            recompute(layer)

    def image_tokens(
        self, images: Float[Tensor, "N 3 H W"], mask: Bool[Tensor, "N H W"] | None = None
    ) -> Float[Tensor, "N T D"]:
        """Encode images with the vision tower and the modality projection; differentiable.

        Args:
            images: RGB in [0, 1]; each is brought to the square of the tower, if it is not one.
            mask: True where `images` is image and not padding behind it; None: all image.
        """
        model = self.plain.model
        side_px = int(model.config.vision_config.image_size)
        pixels = normalise(squares(images.to(self.device), mask, side_px)).to(self.dtype)
        with computing_in(self.dtype, self.device, *self.image_modules):
            hidden = model.vision_model(pixel_values=pixels)
            tokens = model.connector(hidden.last_hidden_state)
        return cast(Tensor, tokens.to(self.dtype))


def image_markup(num_image_tokens: int) -> ImageMarkup:
    """How Idefics3 writes a whole image."""
    before = (FENCE_TOKEN, WHOLE_IMAGE_TOKEN)
    return ImageMarkup(IMAGE_TOKEN, num_image_tokens, before=before, after=(FENCE_TOKEN,))


def load_model(source: str | Path, **options: Any) -> Idefics3ForConditionalGeneration:
    """Load an Idefics3 by hub name or folder: see `recsys.scorer.backbone.LoadBase`.

    Raises:
        CheckpointRefused: if the files are missing, damaged or of another architecture.
    """
    return load_observed(Idefics3ForConditionalGeneration, source, **options)


def build_config(values: Mapping[str, Any]) -> Idefics3Config:
    """The library's configuration, of any size.

    Args:
        values: of `Idefics3Config`; `model_type` may be among them.
    """
    return Idefics3Config(**{name: each for name, each in values.items() if name != "model_type"})


def build_on_meta(values: Mapping[str, Any]) -> Idefics3ForConditionalGeneration:
    """An Idefics3 of any size without its weights: shapes to count with, and no memory."""
    with torch.device("meta"):
        return observe_attention(Idefics3ForConditionalGeneration(build_config(values)))


def _dimensions(values: Mapping[str, Any]) -> Dimensions:
    text, vision = values["text_config"], values["vision_config"]
    side = vision["image_size"] // vision["patch_size"] // values["scale_factor"]
    return Dimensions(
        text=tower_of(text),
        vision=tower_of(vision),
        patch_px=vision["patch_size"],
        image_places=image_markup(side * side).num_places,
        vocabulary=text["vocab_size"],
    )


FAMILY = Family(
    load=load_model,
    wrap=Idefics3Backbone,
    build_on_meta=build_on_meta,
    dimensions=_dimensions,
    with_layers=with_layers,
    adapter_targets=ADAPTER_TARGETS,
    decoder_targets=DECODER_TARGETS,
    vision_tower=VISION_TOWER,
    parts=PARTS,
    never_quantized=("lm_head", "embed"),
    published=PUBLISHED,
)
