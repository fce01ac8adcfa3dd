"""Pretraining of the tiny base model, which learns to see and to read a labelled history.

Two parts, as larger models are pretrained: captions (what does an image show?) and interleaved
sequences (images with labels that follow a rule; does the rule hold for the next image?). The rules
are drawn at random over all attributes, without the communities of any world: who likes what is
learned later, from choices alone.
"""

from pathlib import Path
from typing import cast

from rich.console import Console
from transformers import Idefics2ForConditionalGeneration, PreTrainedTokenizerFast

from recsys.errors import CheckpointRefused
from recsys.scorer.checkpoint import find_checkpoint
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import IMAGE_TOKEN, Idefics2Backbone, load_model
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import load_tokenizer
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining._captions import learn_captions
from training.fitting.pretraining._interleaved import learn_in_context
from training.fitting.pretraining._rendered import RenderedImages, render_images
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.pretraining.tiny_base import build_model, train_tokenizer
from training.fitting.sole_run import sole_run


def pretrain(
    recipe: PretrainRecipe, folder: Path, *, console: Console, start: str | Path | None = None
) -> Path:
    """Make the tiny base model in `folder`/base, resuming an interrupted run.

    Args:
        recipe: all that decides it.
        folder: receives states, logs and the model.
        console: where progress is shown.
        start: a checkpoint whose base has learned captions, and skips them; None: a fresh model.

    Returns:
        The folder that a recipe names as its base.

    Raises:
        NotFound, CheckpointRefused: if `start` is no checkpoint, or carries no base.
        ValueError: if another run is using the folder.
    """
    with sole_run(folder):
        carried = None if start is None else _carried_by(start)
        images = render_images(recipe, console=console)
        if carried is None:
            model, tokenizer = _fresh(recipe, images)
            learn_captions(model, tokenizer, images, recipe, folder, console=console)
        else:
            model, tokenizer = carried
        scorer = scorer_without_tokens(model, tokenizer, recipe)
        learn_in_context(scorer, images, recipe, folder, console=console)
        base = folder / "base"
        model.save_pretrained(base)
        tokenizer.save_pretrained(base)
        return base


def _fresh(
    recipe: PretrainRecipe, images: RenderedImages
) -> tuple[Idefics2ForConditionalGeneration, PreTrainedTokenizerFast]:
    tokenizer = train_tokenizer(
        [*images.captions, *images.prompts], vocabulary=recipe.shape.vocabulary
    )
    image_token = cast(int, tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    model = build_model(
        recipe.shape, vocabulary=len(tokenizer), image_token=image_token, seed=recipe.seed
    )
    return model, tokenizer


def _carried_by(
    checkpoint: str | Path,
) -> tuple[Idefics2ForConditionalGeneration, PreTrainedTokenizerFast]:
    folder = find_checkpoint(checkpoint)
    if not (folder / "base" / "config.json").is_file():
        raise CheckpointRefused(f"{folder} must carry its base in base/: give another checkpoint")
    tokenizer = cast(PreTrainedTokenizerFast, load_tokenizer(folder / "tokenizer"))
    return load_model(folder / "base"), tokenizer


def scorer_without_tokens(
    model: Idefics2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    recipe: PretrainRecipe,
) -> PreferenceScorer:
    """The base as a scorer without preference tokens, for the paper's template of a history."""
    backbone = Idefics2Backbone(model)
    template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
    config = ScorerConfig(recipe.num_references, num_preference_tokens=0)
    return PreferenceScorer(backbone, template, geometry=recipe.shape.geometry, config=config)
