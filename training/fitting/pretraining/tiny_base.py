"""The tiny base model: Idefics2's own classes and file format at toy size, and its tokenizer.

It takes the place of HuggingFaceM4/idefics2-8b on a machine without a GPU;
`training.fitting.pretraining.pretrain` trains it.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, cast

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    Idefics2ForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from recsys.images.preprocess import ImageGeometry
from recsys.scorer.decoder import observe_attention
from recsys.scorer.idefics2 import (
    END_TOKEN,
    FENCE_TOKEN,
    IMAGE_TOKEN,
    MODEL_TYPE,
    build_config,
)
from recsys.scorer.template import TemplateConfig
from training.fitting.pretraining._words import word_list

SPECIAL = ("<unk>", "<s>", "</s>", FENCE_TOKEN, IMAGE_TOKEN, END_TOKEN)


@dataclass(frozen=True)
class TinyShape:
    """Dimensions of a small Idefics2.

    Attributes:
        image_px: side of the square input.
        patch_px: side of a vision patch; divides `image_px`.
        vision_width, vision_layers, vision_heads: the vision tower.
        num_latents: T, tokens an image.
        width, layers, heads, key_value_heads, mlp_width: the decoder.
        vocabulary: size of the tokenizer's vocabulary, special tokens included.
    """

    image_px: int = 64
    patch_px: int = 8
    vision_width: int = 96
    vision_layers: int = 3
    vision_heads: int = 4
    num_latents: int = 3
    width: int = 96
    layers: int = 5
    heads: int = 4
    key_value_heads: int = 2
    mlp_width: int = 256
    vocabulary: int = 1500

    @property
    def geometry(self) -> ImageGeometry:
        """How images are brought to the model's input size."""
        return ImageGeometry(square_px=self.image_px)


TINY = TinyShape()

TWELVE_MILLION = TinyShape(
    image_px=64,
    patch_px=8,
    vision_width=192,
    vision_layers=6,
    vision_heads=6,
    num_latents=8,
    width=256,
    layers=8,
    heads=8,
    key_value_heads=4,
    mlp_width=960,
)
"""About 12 M parameters: for benchmarks, where the tiny model is all overhead."""


def idefics2_values(shape: TinyShape, *, vocabulary: int, image_token: int) -> dict[str, Any]:
    """Values of the library's configuration for a small Idefics2."""
    return {
        "model_type": MODEL_TYPE,
        "image_token_id": image_token,
        "vision_config": {
            "hidden_size": shape.vision_width,
            "intermediate_size": 3 * shape.vision_width,
            "num_hidden_layers": shape.vision_layers,
            "num_attention_heads": shape.vision_heads,
            "image_size": shape.image_px,
            "patch_size": shape.patch_px,
        },
        "perceiver_config": {
            "hidden_size": shape.width,
            "rms_norm_eps": 1e-5,
            "resampler_n_latents": shape.num_latents,
            "resampler_depth": 1,
            "resampler_n_heads": shape.heads,
            "resampler_head_dim": shape.width // shape.heads,
            "num_key_value_heads": shape.key_value_heads,
        },
        "text_config": text_values(
            vocabulary=vocabulary,
            width=shape.width,
            layers=shape.layers,
            heads=shape.heads,
            key_value_heads=shape.key_value_heads,
            mlp_width=shape.mlp_width,
        ),
    }


def text_values(
    *, vocabulary: int, width: int, layers: int, heads: int, key_value_heads: int, mlp_width: int
) -> dict[str, Any]:
    """Values of the library's configuration for a small decoder, a Mistral."""
    return {
        "model_type": "mistral",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": mlp_width,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": key_value_heads,
        "head_dim": width // heads,
        "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
        "sliding_window": None,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }


def build_model(
    shape: TinyShape, *, vocabulary: int, image_token: int, seed: int
) -> Idefics2ForConditionalGeneration:
    """A small Idefics2 with fresh weights, on the CPU in float32.

    Args:
        shape: dimensions.
        vocabulary: number of token ids.
        image_token: id of `<image>`.
        seed: decides every weight.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        values = idefics2_values(shape, vocabulary=vocabulary, image_token=image_token)
        model = Idefics2ForConditionalGeneration(build_config(values))
        draw_weights(model, depth=shape.layers)
    return observe_attention(model)


def draw_weights(model: PreTrainedModel, *, depth: int) -> None:
    """Draw weights, scaled by their width, and embeddings scaled to 1.

    With the library's 0.02 the label is drowned by the image beside it and nothing is learned in
    context; at 1 it stands out.

    Args:
        model: with an `lm_head`.
        depth: layers of its decoder.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.Linear):
            gain = 1 / math.sqrt(2 * depth) if name.endswith(("o_proj", "down_proj")) else 1.0
            nn.init.normal_(module.weight, std=gain / math.sqrt(module.in_features))
    nn.init.normal_(cast(nn.Embedding, model.get_input_embeddings()).weight, std=1.0)
    nn.init.normal_(cast(nn.Linear, model.lm_head).weight, std=0.02)


def train_tokenizer(captions: Iterable[str], *, vocabulary: int) -> PreTrainedTokenizerFast:
    """A byte-level BPE tokenizer: any text can be encoded, the world's words in one token each.

    The template's fixed phrases are tokens of their own, which halves the length of a reference,
    and so are the labels, the paper's and the authors'.

    Args:
        captions: text to learn merges from; English word forms are added.
        vocabulary: number of token ids in all, at least 300.
    """
    words = TemplateConfig()
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    tokenizer.decoder = decoders.ByteLevel()
    phrases = [words.before_prompt, words.after_prompt, words.like, words.dislike, "+", "-"]
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary - len(phrases),
        special_tokens=list(SPECIAL),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([*captions, *word_list()], trainer)
    # Special, so that a prompt which spells a label is words and never the label itself.
    tokenizer.add_special_tokens(
        [AddedToken(phrase, normalized=False, single_word=True, special=True) for phrase in phrases]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<unk>",
        additional_special_tokens=list(SPECIAL[3:]),
    )
