"""In what a recipe's base is held and computed: `auto` becomes what the device is good at."""

from dataclasses import replace

import torch

from recsys.scorer.model import PreferenceScorer
from training.fitting.recipes.recipe import Recipe


def on_device(recipe: Recipe, device: str) -> Recipe:
    """The recipe with a type in place of each `auto`.

    bfloat16 has float32's range and needs no loss scaling; GPUs before Ampere compute it slowly or
    not at all, and get float16.

    Args:
        recipe: of a run.
        device: that trains, "cpu", "cuda" or "cuda:N".
    """
    base = recipe.base
    return replace(
        recipe,
        base=replace(
            base,
            dtype=_chosen(base.dtype, device),
            second_dtype=_chosen(base.second_dtype, device),
        ),
    )


def needs_loss_scaling(scorer: PreferenceScorer) -> bool:
    """Whether a scorer's gradients may be too small for the type that its base computes in."""
    return scorer.backbone.dtype == torch.float16


def _chosen(dtype: str, device: str) -> str:
    return _half(device) if dtype == "auto" else dtype


def _half(device: str) -> str:
    if torch.device(device).type == "cpu":
        return "bfloat16"
    with torch.cuda.device(device):
        has_bf16 = torch.cuda.is_bf16_supported(including_emulation=False)
    return "bfloat16" if has_bf16 else "float16"
