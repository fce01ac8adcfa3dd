"""The first part of pretraining: read an image's attributes, and continue it with its caption."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from rich.console import Console
from torch import Tensor
from transformers import Idefics2ForConditionalGeneration, PreTrainedTokenizerFast

from recsys.scorer.backbone import Backbone
from recsys.scorer.idefics2 import FENCE_TOKEN, Idefics2Backbone
from recsys.scorer.packing import PADDING, SHARED, attention_mask
from training.fitting.parallel import Processes
from training.fitting.pretraining._rendered import RenderedImages, named, readout, unit
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.run_state import recipe_digest
from training.fitting.trainer import ONE, Run, fit


def learn_captions(
    model: Idefics2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    images: RenderedImages,
    recipe: PretrainRecipe,
    folder: Path,
    *,
    console: Console,
    processes: Processes = ONE,
) -> None:
    """Captions: read an image's attributes from its tokens, and continue it with its caption.

    Args:
        model: all of it is trained.
        tokenizer: of the captions.
        images: with attributes and captions.
        recipe: plan and sizes.
        folder: receives state and log.
        console: where progress is shown.
        processes: those that share the work.
    """
    backbone = Idefics2Backbone(model)
    head = readout(backbone.num_image_tokens * backbone.hidden_size, recipe.seed)
    captions = _caption_ids(tokenizer, images.captions)
    fence = torch.tensor([tokenizer.convert_tokens_to_ids(FENCE_TOKEN)])

    def step_loss(step: int, part: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.captions.seed, 2, step, part])
        chosen = torch.from_numpy(rng.choice(len(images.pixels), recipe.caption_batch))
        tokens = backbone.image_tokens(_mirrored(unit(images.pixels[chosen]), rng))
        error = F.mse_loss(head(tokens.flatten(1)), images.attributes[chosen])
        some = slice(recipe.captioned)
        words = caption_loss(backbone, tokens[some], captions[chosen[some]], fence)
        return error + recipe.caption_weight * words, {
            "error": error.item(),
            "words": words.item(),
        }

    trained = {**dict(model.named_parameters()), **named("head", head)}
    fit(
        step_loss,
        trained,
        recipe.captions,
        run=Run(folder, console, recipe_digest(recipe.caption_values()), processes),
    )


def _mirrored(
    pixels: Float[Tensor, "N 3 S S"], rng: np.random.Generator
) -> Float[Tensor, "N 3 S S"]:
    """Half of the images, flipped horizontally: captions and attributes stay true."""
    chosen = torch.from_numpy(rng.random(len(pixels)) < 0.5)
    return torch.where(chosen[:, None, None, None], pixels.flip(-1), pixels)


def caption_loss(
    backbone: Backbone,
    image_tokens: Float[Tensor, "B T D"],
    captions: Int[Tensor, "B W"],
    fence: Int[Tensor, " 1"],
) -> Float[Tensor, ""]:
    """Cross entropy of each caption token behind its image.

    Args:
        backbone: embeds and decodes.
        image_tokens: T tokens of each of B images.
        captions: token ids, padded with -1 to W.
        fence: id of the token that stands before and after an image.
    """
    ids = captions.clamp(min=0)
    around = backbone.embed(fence).expand(len(ids), 1, -1)
    embeddings = torch.cat([around, image_tokens, around, backbone.embed(ids)], dim=1)
    segments = torch.full(embeddings.shape[:2], SHARED)
    segments[:, -ids.shape[1] :][captions < 0] = PADDING
    hidden = backbone.decode(
        embeddings,
        mask=attention_mask(segments, segments, dtype=embeddings.dtype),
        positions=torch.arange(embeddings.shape[1])[None].expand(len(ids), -1),
    )
    predicted = backbone.output_matrix(hidden[:, -ids.shape[1] - 1 : -1])
    return F.cross_entropy(predicted.flatten(0, 1), captions.flatten(), ignore_index=-1)


def _caption_ids(tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> Int[Tensor, "N W"]:
    """Token ids of each caption and an end of text, padded with -1."""
    end = tokenizer.eos_token_id
    ids = [[*tokenizer.encode(text, add_special_tokens=False), end] for text in captions]
    width = max(map(len, ids))
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in ids])
