"""What a run needs, without running it: parameters, memory of a device, tokens, steps, FLOPs.

The model is built on PyTorch's meta device, with all its shapes and no memory.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from torch import nn

from recsys.counts import counted
from recsys.scorer.adapter import add_adapter
from recsys.scorer.backbone import Dimensions, Family, Tower
from recsys.scorer.registry import FAMILIES
from training.fitting.missing import missing
from training.fitting.recipes.recipe import Precision, Recipe, Stage

NF4_BYTES = 0.5 + 1 / 64 + 4 / 64 / 256
"""Of a parameter in NF4: 4 bits, 8 per block of 64, 32 per 256 blocks (QLoRA, section 3)."""

TRAINED_BYTES = 4 + 4 + 8
"""Of a trained parameter: float32 weight, gradient and AdamW's two moments."""

PROMPT_TOKENS = 20
"""Assumed length of a prompt; at most the template's limit."""

WORDS_TOKENS = 12
"""Assumed for the template's fixed words and label beside one image."""

WIDTHS = {"float32": 4, "float16": 2, "bfloat16": 2, "auto": 2}


@dataclass(frozen=True, eq=False)
class BaseShapes:
    """A base model to count with.

    Attributes:
        family: of the base.
        sizes: of its parts.
        model: with the recipe's adapter, without weights.
    """

    family: Family
    sizes: Dimensions
    model: nn.Module


@dataclass(frozen=True)
class StageCount:
    """What one stage needs.

    Attributes:
        name: of the stage.
        num_trained: parameters that are trained.
        memory_bytes: of one device, by component.
        tokens: length of one packed row.
        steps: optimizer steps.
        samples: rows in all steps.
        flops: of the whole stage, forward and backward.
    """

    name: str
    num_trained: int
    memory_bytes: Mapping[str, float]
    tokens: int
    steps: int
    samples: int
    flops: float


@dataclass(frozen=True)
class DryRun:
    """What a run needs.

    Attributes:
        recipe: its name.
        parameters: by part of the model: total, and trained in stage 1.
        stages: both.
        missing: requirements that this machine does not meet, a sentence each.
    """

    recipe: str
    parameters: Mapping[str, tuple[int, int]]
    stages: tuple[StageCount, StageCount]
    missing: tuple[str, ...]


def dry_run(recipe: Recipe, shape: Mapping[str, Any], *, num_devices: int = 1) -> DryRun:
    """Count what a run needs.

    Args:
        recipe: of the run.
        shape: values of the base's configuration, `model_type` among them.
        num_devices: GPUs that share each step's parts, at least 1.
    """
    shapes = base_shapes(recipe, shape)
    parameters = count_parameters(recipe, shapes)
    trained = {name: both[1] for name, both in parameters.items()}
    tokens_only = dict.fromkeys(trained, 0) | {"preference tokens": trained["preference tokens"]}
    stages = (
        _count(recipe, recipe.first, shapes, trained, recipe.base.first),
        _count(recipe, recipe.second, shapes, tokens_only, recipe.base.second),
    )
    largest = max(sum(stage.memory_bytes.values()) for stage in stages)
    lacking = missing(recipe, memory_bytes=largest, num_devices=num_devices)
    return DryRun(recipe.name, parameters, stages, tuple(lacking))


def base_shapes(recipe: Recipe, shape: Mapping[str, Any]) -> BaseShapes:
    """The recipe's base with its adapter, on the meta device.

    Args:
        recipe: of the run.
        shape: values of the base's configuration, `model_type` among them.
    """
    family = FAMILIES[shape["model_type"]]
    model = family.build_on_meta(shape)
    adapted = add_adapter(model, recipe.lora, family_targets=family.adapter_targets)
    return BaseShapes(family, family.dimensions(shape), adapted)


def count_parameters(recipe: Recipe, base: BaseShapes) -> dict[str, tuple[int, int]]:
    """Parameters by part of the model: total, and trained in stage 1.

    Args:
        recipe: number of preference tokens.
        base: with its adapter.
    """
    counts = {part: [0, 0] for part in base.family.parts}
    adapter = 0
    for name, parameter in base.model.named_parameters():
        if "lora_" in name:
            adapter += parameter.numel()
            continue
        part = next(part for part, mark in base.family.parts.items() if mark in name)
        # A module trained whole is there twice: the original and the trained copy.
        if ".original_module." in name:
            continue
        counts[part][0] += parameter.numel()
        counts[part][1] += parameter.numel() if "modules_to_save" in name else 0
    tokens = recipe.scorer.num_preference_tokens * base.sizes.text.hidden_size
    return {part: (both[0], both[1]) for part, both in counts.items()} | {
        "adapter": (adapter, adapter),
        "preference tokens": (tokens, tokens),
    }


def row_tokens(recipe: Recipe, sizes: Dimensions, num_pairs: int) -> int:
    """L of a packed row: P_v, start of text, references with labels, candidates without.

    Args:
        recipe: number of references and preference tokens, limit of a prompt.
        sizes: of the base.
        num_pairs: pairs to be told apart.
    """
    each = sizes.image_places + WORDS_TOKENS + min(PROMPT_TOKENS, recipe.template.max_prompt_tokens)
    references = 2 * recipe.scorer.num_references * each
    return int(recipe.scorer.num_preference_tokens + 1 + references + 2 * num_pairs * (each - 1))


def row_flops(recipe: Recipe, stage: Stage, base: BaseShapes, *, trains_vision: bool) -> float:
    """FLOPs of one row, forward and backward.

    2 per parameter and token forward, twice that backward, one more forward pass with activation
    checkpointing; attention adds 4 L^2 D per layer forward. Frozen weights need no gradient of
    their own, half of the backward pass. A frozen vision tower needs the forward pass alone.

    Args:
        recipe: of the run.
        stage: its number of pairs.
        base: with its adapter.
        trains_vision: whether the vision tower is trained.
    """
    text = base.sizes.text
    tokens = row_tokens(recipe, base.sizes, stage.num_pairs)
    sizes = {part: _size(base.model, mark) for part, mark in base.family.parts.items()}
    again = 1 if recipe.base.checkpointing else 0
    embedding = base.sizes.vocabulary * text.hidden_size
    attention = 4 * tokens**2 * text.hidden_size * text.num_layers
    decoder = 2 * (sizes["text model"] - embedding) * tokens + attention
    images = 2 * (recipe.scorer.num_references + stage.num_pairs)
    patches = _patches(recipe, base.sizes) * images
    seen = 2 * (sizes["vision tower"] + sizes["projection and resampler"]) * patches
    return float(decoder * (1 + again + 1) + seen * ((1 + again + 2) if trains_vision else 1))


def show(run: DryRun, console: Console) -> None:
    """Print what a run needs, as tables."""
    table = Table("part", "parameters", "trained in stage 1", title=run.recipe)
    for part, (total, trained) in run.parameters.items():
        table.add_row(part, f"{total:,}", f"{trained:,}")
    total = sum(both[0] for both in run.parameters.values())
    table.add_row("total", f"{total:,}", f"{sum(b[1] for b in run.parameters.values()):,}")
    console.print(table)
    for stage in run.stages:
        table = Table("component", "GB", title=f"{stage.name}: memory of one device")
        for what, size in stage.memory_bytes.items():
            table.add_row(what, f"{size / 1e9:.2f}")
        table.add_row("total", f"{sum(stage.memory_bytes.values()) / 1e9:.2f}")
        console.print(table)
        console.print(
            f"{stage.name}: {counted(stage.num_trained, 'parameter')} trained,"
            f" {counted(stage.steps, 'step')}, {counted(stage.samples, 'sample')} of"
            f" {counted(stage.tokens, 'token')}, {stage.flops:.2e} FLOPs"
        )
    if run.missing:
        console.print("Missing on this machine:")
    for each in run.missing:
        console.print(f"  - {each}")


def _count(
    recipe: Recipe,
    stage: Stage,
    shapes: BaseShapes,
    trained: Mapping[str, int],
    precision: Precision,
) -> StageCount:
    trains_vision = trained.get("vision tower", 0) > 0
    rows = stage.plan.num_steps * stage.plan.num_parts * stage.num_users
    num_trained = sum(trained.values())
    memory = {
        "base weights": _base_bytes(recipe, shapes, precision),
        "trained weights, gradients, moments": float(num_trained * TRAINED_BYTES),
        "activations": _activation_bytes(recipe, stage, shapes.sizes, trains_vision),
    }
    flops = row_flops(recipe, stage, shapes, trains_vision=trains_vision)
    tokens = row_tokens(recipe, shapes.sizes, stage.num_pairs)
    return StageCount(
        stage.plan.name, num_trained, memory, tokens, stage.plan.num_steps, rows, rows * flops
    )


def _base_bytes(recipe: Recipe, base: BaseShapes, precision: Precision) -> float:
    """Frozen weights: linear layers in NF4 if so configured, the others in their dtype."""
    kept = (*base.family.never_quantized, *recipe.lora.whole)
    total = 0.0
    for name, parameter in base.model.named_parameters():
        if "lora_" in name or "modules_to_save" in name:
            continue
        is_quantised = precision.quantization == "nf4" and parameter.ndim == 2
        is_quantised = is_quantised and not any(mark in name for mark in kept)
        total += parameter.numel() * (NF4_BYTES if is_quantised else WIDTHS[precision.dtype])
    return total


def _activation_bytes(
    recipe: Recipe, stage: Stage, sizes: Dimensions, trains_vision: bool
) -> float:
    """Stored activations, in half precision.

    With checkpointing: each layer's input, and what one layer stores while it is recomputed,
    about 16 widths and 3 of the MLP's. Without: that for every layer.
    """
    vision = sizes.vision
    rows = stage.num_users
    tokens = rows * row_tokens(recipe, sizes, stage.num_pairs)
    total = _layers(sizes.text, tokens, recipe.base.checkpointing)
    images = rows * 2 * (recipe.scorer.num_references + stage.num_pairs)
    patches = images * _patches(recipe, sizes)
    if trains_vision:
        total += _layers(vision, patches, recipe.base.checkpointing)
    else:
        total += 2.0 * patches * (4 * vision.hidden_size + vision.mlp_size)
    return total


def _layers(tower: Tower, tokens: int, is_checkpointed: bool) -> float:
    one = 2.0 * tokens * (16 * tower.hidden_size + 3 * tower.mlp_size)
    kept = 2.0 * tokens * tower.hidden_size * tower.num_layers
    return float(kept + one if is_checkpointed else one * tower.num_layers)


def _patches(recipe: Recipe, sizes: Dimensions) -> int:
    geometry = recipe.base.geometry
    side = geometry.square_px or geometry.longest_px
    return int(math.prod((side // sizes.patch_px,) * 2))


def _size(model: nn.Module, mark: str) -> int:
    return sum(
        p.numel()
        for name, p in model.named_parameters()
        if mark in name and "lora_" not in name and "modules_to_save" not in name
    )
