"""Teach the tiny base model to see and to read a labelled history.

Two parts, as larger models are pretrained: captions (what does an image show?) and interleaved
sequences (images with labels that follow a rule; does the rule hold for the next image?). The rules
are drawn at random over all attributes, without the communities of any world: who likes what is
learned later, from choices alone.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from jaxtyping import Float
from rich.console import Console
from torch import Tensor
from transformers import Idefics2ForConditionalGeneration, PreTrainedTokenizerFast

from recsys.scorer.backbone import Backbone
from recsys.scorer.model import PreferenceScorer, ScorerConfig
from recsys.scorer.packing import PADDING, SHARED, attention_mask
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining.interleaved import learn_in_context
from training.fitting.pretraining.pool import Pool, named, normalise, readout, render_pool
from training.fitting.pretraining.tiny_base import build_model, train_tokenizer
from training.fitting.recipes.recipe import PretrainRecipe, recipe_digest
from training.fitting.trainer import Run, fit


def pretrain(recipe: PretrainRecipe, folder: Path, *, console: Console) -> Path:
    """Make the tiny base model in `folder`/base, resuming whatever part was begun.

    Returns:
        The folder that `recsys.scorer.backbone.load_model` and `load_tokenizer` read.
    """
    pool = render_pool(recipe, console=console)
    tokenizer = train_tokenizer([*pool.captions, *pool.prompts], vocabulary=recipe.shape.vocabulary)
    image_token = cast(int, tokenizer.convert_tokens_to_ids("<image>"))
    model = build_model(
        recipe.shape, vocabulary=len(tokenizer), image_token=image_token, seed=recipe.seed
    )
    learn_to_see(model, tokenizer, pool, recipe, folder, console=console)
    scorer = bare_scorer(model, tokenizer, recipe)
    learn_in_context(scorer, pool, recipe, folder, console=console)
    base = folder / "base"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    return base


def bare_scorer(
    model: Idefics2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    recipe: PretrainRecipe,
) -> PreferenceScorer:
    """The base as a scorer without preference tokens, for the paper's template of a history."""
    backbone = Backbone(model)
    template = Template(tokenizer, TemplateConfig(), num_image_tokens=backbone.num_image_tokens)
    config = ScorerConfig(recipe.num_references, num_preference_tokens=0)
    return PreferenceScorer(backbone, template, geometry=recipe.shape.geometry, config=config)


def learn_to_see(
    model: Idefics2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pool: Pool,
    recipe: PretrainRecipe,
    folder: Path,
    *,
    console: Console,
) -> None:
    """Captions: read an image's attributes from its tokens, and continue it with its caption."""
    backbone = Backbone(model)
    head = readout(backbone.num_image_tokens * backbone.hidden_size, recipe.seed)
    captions = _caption_ids(tokenizer, pool.captions)
    fence = torch.tensor([tokenizer.convert_tokens_to_ids("<fake_token_around_image>")])

    def step_loss(step: int, part: int) -> tuple[Tensor, dict[str, float]]:
        rng = np.random.default_rng([recipe.captions.seed, 2, step])
        chosen = torch.from_numpy(rng.choice(len(pool.pixels), recipe.caption_batch))
        tokens = backbone.image_tokens(_mirrored(normalise(pool.pixels[chosen]), rng))
        error = F.mse_loss(head(tokens.flatten(1)), pool.attributes[chosen])
        some = slice(recipe.captioned)
        words = caption_loss(backbone, tokens[some], captions[chosen[some]], fence)
        return error + recipe.caption_weight * words, {
            "error": error.item(),
            "words": words.item(),
        }

    trained = {**dict(model.named_parameters()), **named("head", head)}
    fit(step_loss, trained, recipe.captions, run=Run(folder, console, recipe_digest(recipe)))


def _mirrored(
    pixels: Float[Tensor, "N 3 S S"], rng: np.random.Generator
) -> Float[Tensor, "N 3 S S"]:
    """Half of the images, left for right: nothing that captions or attributes tell of changes."""
    chosen = torch.from_numpy(rng.random(len(pixels)) < 0.5)
    return torch.where(chosen[:, None, None, None], pixels.flip(-1), pixels)


def caption_loss(
    backbone: Backbone,
    image_tokens: Float[Tensor, "B T D"],
    captions: Tensor,
    fence: Tensor,
) -> Float[Tensor, ""]:
    """Cross entropy of each caption token behind its image; -1 in `captions` (B, W) is padding."""
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
    predicted = backbone.idefics2.lm_head(hidden[:, -ids.shape[1] - 1 : -1])
    return F.cross_entropy(predicted.flatten(0, 1), captions.flatten(), ignore_index=-1)


def _caption_ids(tokenizer: PreTrainedTokenizerFast, captions: Sequence[str]) -> Tensor:
    """Caption tokens and an end, padded with -1: shape (N, W)."""
    end = tokenizer.eos_token_id
    ids = [[*tokenizer.encode(text, add_special_tokens=False), end] for text in captions]
    width = max(map(len, ids))
    return torch.tensor([[*row, *[-1] * (width - len(row))] for row in ids])
