"""Pretraining of the tiny base model, which learns to see and to read a labelled history.

Two parts, as larger models are pretrained: captions (what does an image show?) and interleaved
sequences (images with labels that follow somebody's rule; does it hold for the next image?). Rules
are of populations that are drawn for one step alone, and none is that of a world: who likes what
there is learned later, from choices alone.
"""

from pathlib import Path
from typing import cast

from rich.console import Console
from transformers import Idefics2ForConditionalGeneration, PreTrainedTokenizerFast

from recsys.errors import CheckpointRefused
from recsys.scorer.base_model import CARRIED
from recsys.scorer.checkpoint import find_checkpoint, write_preference_tokens
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import IMAGE_TOKEN, Idefics2Backbone, load_model
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import load_tokenizer
from recsys.scorer.template import Template, TemplateConfig
from storage.files import replace_folder
from training.fitting.parallel import Processes
from training.fitting.pretraining._captions import learn_captions
from training.fitting.pretraining._interleaved import learn_in_context
from training.fitting.pretraining._rendered import RenderedImages, render_images
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.pretraining.record import write_pretraining
from training.fitting.pretraining.tiny_base import build_model, train_tokenizer
from training.fitting.run_state import recipe_digest, saved_identity
from training.fitting.sole_run import sole_run
from training.fitting.trainer import ONE, plan_identity, state_name

BASE = "base"
"""In a run's folder: where the model is written."""


def pretrain(
    recipe: PretrainRecipe,
    folder: Path,
    *,
    console: Console,
    start: str | Path | None = None,
    processes: Processes = ONE,
) -> Path:
    """Make the tiny base model in `folder`/base, resuming an interrupted run.

    Args:
        recipe: all that decides it.
        folder: receives states, logs and the model.
        console: where progress is shown.
        start: a checkpoint whose base has learned captions, and skips them; None: a fresh model.
        processes: those that share the work; each renders and encodes all images.

    Returns:
        The folder that a recipe names as its base; in it lie the preference tokens that tell of
        nobody, to begin with, if there are any. Beside it pretraining.json tells how it was made.

    Raises:
        NotFound, CheckpointRefused: if `start` is no checkpoint, or carries no base.
        ValueError: if another run is using the folder.
    """
    with sole_run(folder, processes):
        carried = None if start is None else _carried_by(start)
        images = render_images(recipe, console=console)
        if carried is None:
            model, tokenizer = _fresh(recipe, images)
            learn_captions(
                model, tokenizer, images, recipe, folder, console=console, processes=processes
            )
        else:
            model, tokenizer = carried
        scorer = base_scorer(model, tokenizer, recipe)
        learn_in_context(scorer, images, recipe, folder, console=console, processes=processes)
        if processes.is_main:
            with replace_folder(folder / BASE) as work:  # a base that was cut off looks like one
                model.save_pretrained(work)
                tokenizer.save_pretrained(work)
                if recipe.num_preference_tokens:
                    write_preference_tokens(scorer, work)
            write_pretraining(recipe, folder / BASE, start=start)
        processes.wait()
        return folder / BASE


def has_base(folder: Path) -> bool:
    """Whether a run's folder has its base, with or without preference tokens."""
    return (folder / BASE / "tokenizer.json").is_file()  # the model was written before


def captions_state(recipe: PretrainRecipe) -> str:
    """Name of the file in a run's folder with the state of the first part."""
    return state_name(recipe.captions)


def is_made_by(folder: Path, recipe: PretrainRecipe, *, skips_captions: bool = False) -> bool:
    """Whether the states in a run's folder are of this recipe, in both parts.

    Args:
        folder: that `pretrain` was given.
        recipe: in question.
        skips_captions: whether it began with a checkpoint that has learned them.

    Raises:
        ValueError: if a state is damaged.
    """
    plans = {recipe.interleaved: recipe.to_json()}
    if not skips_captions:
        plans[recipe.captions] = recipe.caption_values()
    return all(
        saved_identity(folder / state_name(plan)) == plan_identity(plan, recipe_digest(values))
        for plan, values in plans.items()
    )


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
    if not (folder / CARRIED / "config.json").is_file():
        raise CheckpointRefused(f"{folder} must carry its base in base/: give another checkpoint")
    tokenizer = cast(PreTrainedTokenizerFast, load_tokenizer(folder / "tokenizer"))
    return load_model(folder / CARRIED), tokenizer


def base_scorer(
    model: Idefics2ForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    recipe: PretrainRecipe,
) -> PreferenceScorer:
    """The base as a scorer, for the paper's template of a history."""
    backbone = Idefics2Backbone(model)
    template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
    config = ScorerConfig(recipe.num_references, recipe.num_preference_tokens)
    return PreferenceScorer(backbone, template, geometry=recipe.shape.geometry, config=config)
