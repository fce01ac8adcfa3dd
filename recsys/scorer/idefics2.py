"""Idefics2 (Laurençon et al., 2024): all that is known of this family of base models."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from transformers import Idefics2Config, Idefics2ForConditionalGeneration

from recsys.scorer.backbone import Dimensions, Family, Tower
from recsys.scorer.decoder import DecoderBackbone, load_observed, observe_attention
from recsys.scorer.precision import computing_in
from recsys.scorer.recomputation import recompute
from recsys.scorer.template import ImageMarkup

MODEL_TYPE = "idefics2"
IMAGE_TOKEN = "<image>"
FENCE_TOKEN = "<fake_token_around_image>"
END_TOKEN = "<end_of_utterance>"

# The vision tower is SigLIP, which reads pixels in [-1, 1].
MEAN = 0.5
STD = 0.5

# Attention and MLP projections of the text model, the modality projection and the resampler, as in
# the authors' code; the vision tower stays as it is.
ADAPTER_TARGETS = (
    r".*(text_model|modality_projection|perceiver_resampler)"
    r".*(down_proj|gate_proj|up_proj|k_proj|q_proj|v_proj|o_proj)"
)

DECODER_TARGETS = r".*text_model.*_proj"
VISION_TOWER = "vision_model"

PARTS = {
    "vision tower": VISION_TOWER,
    "projection and resampler": "connector",
    "text model": "text_model",
    "output matrix": "lm_head",
}

PUBLISHED = {
    "HuggingFaceM4/idefics2-8b": {
        "model_type": MODEL_TYPE,
        "image_token_id": 32001,
        "vision_config": {
            "hidden_size": 1152,
            "intermediate_size": 4304,
            "num_hidden_layers": 27,
            "num_attention_heads": 16,
            "image_size": 980,
            "patch_size": 14,
        },
        "perceiver_config": {
            "hidden_size": 4096,
            "resampler_n_latents": 64,
            "resampler_depth": 3,
            "resampler_n_heads": 16,
            "resampler_head_dim": 96,
            "num_key_value_heads": 4,
        },
        "text_config": {
            "model_type": "mistral",
            "vocab_size": 32003,
            "hidden_size": 4096,
            "intermediate_size": 14336,
            "num_hidden_layers": 32,
            "num_attention_heads": 32,
            "num_key_value_heads": 8,
            "head_dim": 128,
            "max_position_embeddings": 32768,
            "sliding_window": None,
            "tie_word_embeddings": False,
        },
    },
}


class Idefics2Backbone(DecoderBackbone):
    """An Idefics2, with or without a PEFT adapter, as `recsys.scorer.backbone.Backbone`.

    Args:
        model: `Idefics2ForConditionalGeneration`, or a `PeftModel` around one, whose text model
            was given to `observe_attention`.
    """

    @property
    def num_image_tokens(self) -> int:
        """T, latents of the perceiver resampler."""
        return cast(int, self.plain.model.image_seq_len)

    @property
    def image_modules(self) -> tuple[nn.Module, ...]:
        """The vision tower, and the modality projection with the resampler."""
        model = self.plain.model
        return cast(nn.Module, model.vision_model), cast(nn.Module, model.connector)

    @property
    def image_markup(self) -> ImageMarkup:
        """T image tokens between two fences."""
        return image_markup(self.num_image_tokens)

    def keep_no_activations(self) -> None:
        """Compute each layer's activations again in the backward pass: less memory, a third slower.

        Of the decoder, the vision tower, the modality projection and the resampler. Takes effect in
        training mode.
        """
        model = self.plain.model
        connector = model.connector
        for layer in (
            *self.layers,
            *model.vision_model.encoder.layers,
            connector.modality_projection,
            *connector.perceiver_resampler.layers,
        ):
            recompute(layer)

    def image_tokens(
        self, images: Float[Tensor, "N 3 H W"], mask: Bool[Tensor, "N H W"] | None = None
    ) -> Float[Tensor, "N T D"]:
        """Encode images with the vision tower and the perceiver resampler; differentiable.

        Args:
            images: RGB in [0, 1]; height and width multiples of the patch size.
            mask: True where `images` is image and not padding; None: all image.
        """
        # The library's get_image_features drops images that are all zero (mid grey) as padding.
        model = self.plain.model
        size = int(model.config.vision_config.patch_size)
        pixels = normalise(images.to(self.device)).to(self.dtype)
        if mask is None:
            mask = torch.ones(
                (pixels.shape[0], *pixels.shape[2:]), dtype=torch.bool, device=pixels.device
            )
        patches = mask.unfold(1, size, size).unfold(2, size, size).all(dim=-1).all(dim=-1)
        with computing_in(self.dtype, self.device, *self.image_modules):
            hidden = model.vision_model(pixel_values=pixels, patch_attention_mask=patches)
            tokens = model.connector(hidden.last_hidden_state, attention_mask=patches.flatten(1))
        return cast(Tensor, tokens.to(self.dtype))


def image_markup(num_image_tokens: int) -> ImageMarkup:
    """How Idefics2 writes an image: its T tokens between two fences."""
    return ImageMarkup(IMAGE_TOKEN, num_image_tokens, before=(FENCE_TOKEN,), after=(FENCE_TOKEN,))


def normalise(images: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """[0, 1] -> [-1, 1], as the vision tower reads pixels."""
    return (images - MEAN) / STD


def load_model(source: str | Path, **options: Any) -> Idefics2ForConditionalGeneration:
    """Load an Idefics2 by hub name or folder: see `recsys.scorer.backbone.LoadBase`.

    Raises:
        CheckpointRefused: if the files are missing, damaged or of another architecture.
    """
    return load_observed(Idefics2ForConditionalGeneration, source, **options)


def build_config(values: Mapping[str, Any]) -> Idefics2Config:
    """The library's configuration, of any size.

    Args:
        values: of `Idefics2Config`; `model_type` may be among them.
    """
    return Idefics2Config(**{name: each for name, each in values.items() if name != "model_type"})


def build_on_meta(values: Mapping[str, Any]) -> Idefics2ForConditionalGeneration:
    """An Idefics2 of any size without its weights: shapes to count with, and no memory."""
    with torch.device("meta"):
        return observe_attention(Idefics2ForConditionalGeneration(build_config(values)))


def _dimensions(values: Mapping[str, Any]) -> Dimensions:
    text, vision = values["text_config"], values["vision_config"]
    return Dimensions(
        text=tower_of(text),
        vision=tower_of(vision),
        patch_px=vision["patch_size"],
        image_places=image_markup(values["perceiver_config"]["resampler_n_latents"]).num_places,
        vocabulary=text["vocab_size"],
    )


def with_layers(values: Mapping[str, Any], *, text: int, vision: int) -> dict[str, Any]:
    """Values of a configuration with so many layers in text model and vision tower."""
    return {
        **values,
        "text_config": {**values["text_config"], "num_hidden_layers": text},
        "vision_config": {**values["vision_config"], "num_hidden_layers": vision},
    }


def tower_of(values: Mapping[str, Any]) -> Tower:
    """Sizes of a stack of layers, by values of its configuration."""
    return Tower(values["hidden_size"], values["intermediate_size"], values["num_hidden_layers"])


FAMILY = Family(
    load=load_model,
    wrap=Idefics2Backbone,
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
