"""A recipe's scorer: base model, adapter and preference tokens put together."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from recsys.scorer.adapter import add_adapter, load_adapter
from recsys.scorer.backbone import Quantization
from recsys.scorer.checkpoint import BaseModel
from recsys.scorer.families import family_of
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.pretrained import load_tokenizer
from recsys.scorer.template import Template
from training.fitting.recipes.recipe import Recipe


@dataclass(frozen=True)
class Held:
    """How the base is held in memory in one stage.

    Attributes:
        dtype: of weights, or of computation when quantised.
        quantization: "none" or "nf4".
    """

    dtype: str
    quantization: Quantization


def build_scorer(
    recipe: Recipe,
    base: str | Path,
    *,
    device: str = "cpu",
    held: Held | None = None,
    adapter: Path | None = None,
) -> PreferenceScorer:
    """The recipe's scorer before training.

    Args:
        recipe: what to build.
        base: folder or hub id of the base model.
        device: where it goes.
        held: how the base is held; as in stage 1 by default.
        adapter: a saved adapter; else the one the recipe begins with, else a fresh one.

    Raises:
        CheckpointRefused: if the base or the adapter cannot be loaded.
    """
    held = held or Held(recipe.base.dtype, recipe.base.quantization)
    torch.manual_seed(recipe.first.plan.seed)
    family = family_of(base, revision=recipe.base.revision)
    model = family.load(
        base,
        revision=recipe.base.revision,
        dtype=getattr(torch, held.dtype),
        quantization=held.quantization,
        unquantized=recipe.lora.whole,
        device=device,
    )
    begun = adapter or (Path(recipe.base.adapter) if recipe.base.adapter else None)
    if begun is None:
        adapted = add_adapter(model, recipe.lora, family_targets=family.adapter_targets)
    else:
        adapted = load_adapter(model, begun, trainable=True)
    backbone = family.wrap(adapted)
    if recipe.base.checkpointing:
        backbone.keep_no_activations()
    template = Template(
        load_tokenizer(base, revision=recipe.base.revision),
        recipe.template,
        image=backbone.image_markup,
    )
    return PreferenceScorer(backbone, template, geometry=recipe.base.geometry, config=recipe.scorer)


def first_parameters(scorer: PreferenceScorer) -> dict[str, nn.Parameter]:
    """What stage 1 trains: the adapter, with what it trains whole, and the preference tokens."""
    marks = ("lora_", "modules_to_save.")
    found = {n: p for n, p in scorer.named_parameters() if any(mark in n for mark in marks)}
    return found | second_parameters(scorer)


def second_parameters(scorer: PreferenceScorer) -> dict[str, nn.Parameter]:
    """What stage 2 trains: the preference tokens alone (paper, section 4.1)."""
    if scorer.config.num_preference_tokens == 0:
        return {}
    return {"preference_tokens": scorer.preference_tokens}


def train_only(scorer: PreferenceScorer, trained: dict[str, nn.Parameter]) -> None:
    """Freeze everything else."""
    for parameter in scorer.parameters():
        parameter.requires_grad_(False)
    for parameter in trained.values():
        parameter.requires_grad_(True)


def base_of(recipe: Recipe, *, travels: bool) -> BaseModel:
    """What a checkpoint says of its base.

    Args:
        recipe: of the run.
        travels: whether the base's files lie in the checkpoint.
    """
    if travels or recipe.base.source is None:
        return BaseModel(source="base")
    return BaseModel(
        source=recipe.base.source,
        revision=recipe.base.revision,
        dtype=recipe.base.second_dtype,
        quantization=recipe.base.second_quantization,
    )


@contextmanager
def inference(scorer: PreferenceScorer) -> Iterator[None]:
    """Without dropout and gradients, and back to training afterwards."""
    was_training = scorer.training
    scorer.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        scorer.train(was_training)
