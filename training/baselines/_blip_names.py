"""BLIP's own names of its weights -> transformers' names, and the dimensions behind them.

The text encoder has the same names in both; the vision tower follows timm in the original. The
mapping is ours because the transformers package ships no converter of these names, and the
authors' own packages require timm, and with it torchvision.
"""

import math
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from transformers import BlipTextConfig, BlipVisionConfig

# ViT-B and ViT-L alike: the width of one attention head.
HEAD_WIDTH = 64

# Of timm's ViT, which BLIP took over; transformers' own default differs.
_VISION_EPSILON = 1e-6

_VISION_WHOLE = {
    "cls_token": "embeddings.class_embedding",
    "pos_embed": "embeddings.position_embedding",
    "patch_embed.proj.weight": "embeddings.patch_embedding.weight",
    "patch_embed.proj.bias": "embeddings.patch_embedding.bias",
    "norm.weight": "post_layernorm.weight",
    "norm.bias": "post_layernorm.bias",
}
_VISION_BLOCK = {
    "norm1": "layer_norm1",
    "norm2": "layer_norm2",
    "attn.qkv": "self_attn.qkv",
    "attn.proj": "self_attn.projection",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
# A table of 0, 1, 2, ... that some releases of the library saved too.
_NOT_WEIGHTS = frozenset({"embeddings.position_ids"})


def under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The part of a state dict whose names begin with `prefix`, without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix)
    }


def vision_to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of BLIP's `visual_encoder` for `BlipVisionModel`.

    Raises:
        KeyError: if a name is not one of BLIP's.
    """
    return {_vision_name(name): tensor for name, tensor in state.items()}


def text_to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The weights of BLIP's `text_encoder` for `BlipTextModel`, without the table of positions."""
    return {name: tensor for name, tensor in state.items() if name not in _NOT_WEIGHTS}


def _vision_name(name: str) -> str:
    if name in _VISION_WHOLE:
        return _VISION_WHOLE[name]
    blocks, number, rest = (*name.split(".", 2), "", "")[:3]
    part, _, kind = rest.rpartition(".")
    if blocks != "blocks":
        raise KeyError(f"{name} is no weight of BLIP's vision tower")
    return f"encoder.layers.{number}.{_VISION_BLOCK[part]}.{kind}"


def vision_config(state: Mapping[str, Tensor]) -> BlipVisionConfig:
    """The dimensions of a `visual_encoder`, by the shapes of its weights.

    Raises:
        KeyError: if a weight is not there.
    """
    width, _, patch_px, _ = state["patch_embed.proj.weight"].shape
    num_patches = state["pos_embed"].shape[1] - 1
    return BlipVisionConfig(
        hidden_size=width,
        intermediate_size=state["blocks.0.mlp.fc1.weight"].shape[0],
        num_hidden_layers=sum(name.endswith(".norm1.weight") for name in state),
        num_attention_heads=width // HEAD_WIDTH,
        image_size=math.isqrt(num_patches) * patch_px,
        patch_size=patch_px,
        hidden_act="gelu",
        layer_norm_eps=_VISION_EPSILON,
    )


def text_config(med: Mapping[str, Any], state: Mapping[str, Tensor]) -> BlipTextConfig:
    """Dimensions of a `text_encoder` with cross-attention to the image in every layer.

    Args:
        med: the authors' med_config.json.
        state: its weights, whose shapes give the vocabulary and the width of the image states.

    Raises:
        KeyError: if a value or a weight is not there.
    """
    cross_key = state["encoder.layer.0.crossattention.self.key.weight"]
    return BlipTextConfig(
        vocab_size=state["embeddings.word_embeddings.weight"].shape[0],
        hidden_size=med["hidden_size"],
        encoder_hidden_size=cross_key.shape[1],
        intermediate_size=med["intermediate_size"],
        num_hidden_layers=med["num_hidden_layers"],
        num_attention_heads=med["num_attention_heads"],
        max_position_embeddings=med["max_position_embeddings"],
        hidden_act=med["hidden_act"],
        layer_norm_eps=med["layer_norm_eps"],
        # The library's switch for cross-attention; the mask stays bidirectional.
        is_decoder=True,
    )
