"""OpenCLIP's names of a CLIP's weights -> transformers' names of the same.

OpenCLIP keeps query, key and value in one matrix, and multiplies by its projections from the right.
The mapping is ours because the transformers package ships no converter of these names, and
open_clip_torch, which reads the weights by its own, requires torchvision and timm.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor
from transformers import CLIPConfig

# ViT-H/14 of OpenCLIP: the width of one attention head in each tower.
VISION_HEAD_WIDTH = 80
TEXT_HEAD_WIDTH = 64

_WHOLE = {
    "logit_scale": "logit_scale",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
_TRANSPOSED = {
    "text_projection": "text_projection.weight",
    "visual.proj": "visual_projection.weight",
}
_BLOCK = re.compile(r"(visual\.)?transformer\.resblocks\.(\d+)\.(\w+)\.?(.*)")
_BLOCK_PARTS = {
    ("ln_1", ""): "layer_norm1",
    ("ln_2", ""): "layer_norm2",
    ("attn", "out_proj"): "self_attn.out_proj",
    ("mlp", "c_fc"): "mlp.fc1",
    ("mlp", "c_proj"): "mlp.fc2",
}


def to_transformers(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename, split and transpose the weights of an OpenCLIP model.

    Args:
        state: by OpenCLIP's names.

    Returns:
        The same numbers by the names of `CLIPModel`.

    Raises:
        KeyError: if a name is not one of OpenCLIP's.
    """
    return dict(pair for name, tensor in state.items() for pair in _renamed(name, tensor))


def _renamed(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if name in _WHOLE:
        yield _WHOLE[name], tensor
    elif name in _TRANSPOSED:
        yield _TRANSPOSED[name], tensor.T.contiguous()
    else:
        yield from _renamed_in_block(name, tensor)


def _renamed_in_block(name: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    match = _BLOCK.fullmatch(name)
    if match is None:
        raise KeyError(f"{name} is no weight of OpenCLIP's ViT")
    visual, number, part, rest = match.groups()
    layer = f"{'vision' if visual else 'text'}_model.encoder.layers.{number}"
    if rest.startswith("in_proj_"):
        for letter, piece in zip("qkv", tensor.chunk(3), strict=True):
            yield f"{layer}.self_attn.{letter}_proj.{rest.removeprefix('in_proj_')}", piece
    else:
        inner, _, kind = rest.rpartition(".")
        yield f"{layer}.{_BLOCK_PARTS[part, inner]}.{kind}", tensor


def config_of(state: Mapping[str, Tensor]) -> CLIPConfig:
    """The dimensions of a ViT-H/14, or of a smaller one of its kind, by the shapes of its weights.

    The activation is the exact GELU, unlike OpenAI's CLIP.

    Args:
        state: by OpenCLIP's names.

    Raises:
        KeyError: if a weight is not there.
    """
    vocabulary, text_width = state["token_embedding.weight"].shape
    vision_width, _, patch_px, _ = state["visual.conv1.weight"].shape
    num_patches = state["visual.positional_embedding"].shape[0] - 1
    embedding = state["visual.proj"].shape[1]
    text = {
        **_tower(state, "transformer", text_width, TEXT_HEAD_WIDTH),
        "vocab_size": vocabulary,
        "max_position_embeddings": state["positional_embedding"].shape[0],
        "projection_dim": embedding,
        # Start and end of text are the last two ids.
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
    }
    vision = {
        **_tower(state, "visual.transformer", vision_width, VISION_HEAD_WIDTH),
        "image_size": math.isqrt(num_patches) * patch_px,
        "patch_size": patch_px,
        "projection_dim": embedding,
    }
    return CLIPConfig(text_config=text, vision_config=vision, projection_dim=embedding)


def _tower(state: Mapping[str, Tensor], prefix: str, width: int, head_width: int) -> dict[str, Any]:
    ending = ".ln_1.weight"
    return {
        "hidden_size": width,
        "intermediate_size": state[f"{prefix}.resblocks.0.mlp.c_fc.weight"].shape[0],
        "num_hidden_layers": sum(
            name.startswith(f"{prefix}.resblocks.") and name.endswith(ending) for name in state
        ),
        "num_attention_heads": width // head_width,
        "hidden_act": "gelu",
        "layer_norm_eps": 1e-5,
    }
