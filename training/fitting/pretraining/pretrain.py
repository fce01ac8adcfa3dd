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

from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import IMAGE_TOKEN, Idefics2Backbone
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining._captions import learn_captions
from training.fitting.pretraining._interleaved import learn_in_context
from training.fitting.pretraining._rendered import render_images
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.pretraining.tiny_base import build_model, train_tokenizer


def pretrain(recipe: PretrainRecipe, folder: Path, *, console: Console) -> Path:
    """Make the tiny base model in `folder`/base, resuming an interrupted run.

    Args:
        recipe: all that decides it.
        folder: receives states, logs and the model.
        console: where progress is shown.

    Returns:
        The folder that a recipe names as its base.
    """
    images = render_images(recipe, console=console)
    tokenizer = train_tokenizer(
        [*images.captions, *images.prompts], vocabulary=recipe.shape.vocabulary
    )
    image_token = cast(int, tokenizer.convert_tokens_to_ids(IMAGE_TOKEN))
    model = build_model(
        recipe.shape, vocabulary=len(tokenizer), image_token=image_token, seed=recipe.seed
    )
    learn_captions(model, tokenizer, images, recipe, folder, console=console)
    scorer = scorer_without_tokens(model, tokenizer, recipe)
    learn_in_context(scorer, images, recipe, folder, console=console)
    base = folder / "base"
    model.save_pretrained(base)
    tokenizer.save_pretrained(base)
    return base


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
