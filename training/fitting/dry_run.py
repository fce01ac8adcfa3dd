"""What a run needs, without running it: parameters, memory of a device, tokens, steps, FLOPs.

The model is built on PyTorch's meta device, with all its shapes and no memory; FLOPs and memory of
activations are those of a rehearsed step.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from recsys.counts import counted
from recsys.scorer.adapter import add_adapter
from recsys.scorer.backbone import Dimensions, Family
from recsys.scorer.pretrained import read_values
from recsys.scorer.registry import FAMILIES, family_of
from training.fitting.assembly import WHOLE
from training.fitting.missing import missing
from training.fitting.optimizer import PREFERENCE_TOKENS, moment_bytes
from training.fitting.recipes.recipe import Recipe
from training.fitting.rehearsal import rehearse
from training.fitting.row_tokens import row_tokens

NF4_BYTES = 0.5 + 1 / 64 + 4 / 64 / 256
"""Of a parameter in NF4: 4 bits, 8 per block of 64, 32 per 256 blocks (QLoRA, section 3)."""

TRAINED_BYTES = 4 + 4
"""Of a trained parameter beside what the optimizer keeps: float32 weight and gradient."""

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
        unread_base: the base that was named and has no config.json to be read here: the shape that
            was counted is the one that the recipe is written for. None: it is the base's own.
    """

    recipe: str
    parameters: Mapping[str, tuple[int, int]]
    stages: tuple[StageCount, StageCount]
    missing: tuple[str, ...]
    unread_base: str | None = None


def dry_run(
    recipe: Recipe,
    shape: Mapping[str, Any],
    *,
    num_devices: int = 1,
    base: str | None = None,
    device: str | None = None,
) -> DryRun:
    """Count what a run needs.

    Args:
        recipe: of the run.
        shape: values of the base's configuration, `model_type` among them.
        num_devices: GPUs that share each step's parts, at least 1.
        base: folder or hub id of the base model, to look for; None: the recipe's.
        device: whose memory is looked at; None: as of `missing`.

    Raises:
        SettingsRefused: as `missing`.
    """
    shapes = base_shapes(recipe, shape)
    stages = (
        _count(recipe, shapes, shape, is_first=True),
        _count(recipe, shapes, shape, is_first=False),
    )
    largest = max(sum(stage.memory_bytes.values()) for stage in stages)
    lacking = missing(
        recipe, memory_bytes=largest, num_devices=num_devices, base=base, device=device
    )
    parameters = count_parameters(recipe, shapes)
    is_own = base in (None, recipe.base.source) or _has_config(str(base))
    unread = None if is_own else base
    return DryRun(recipe.name, parameters, stages, tuple(lacking), unread)


def values_of(base: str | None, shape: Mapping[str, Any]) -> Mapping[str, Any]:
    """Values of a base's configuration: those in its folder, else what the recipe expects.

    Args:
        base: folder or hub id, or None.
        shape: what the recipe expects.

    Raises:
        CheckpointRefused: if the folder's config.json is damaged, or of no known family.
    """
    if base is None or not _has_config(base):
        return shape
    family_of(base)
    return read_values(Path(base))


def _has_config(base: str) -> bool:
    return (Path(base) / "config.json").is_file()


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


def show(run: DryRun, console: Console) -> None:
    """Print what a run needs, as tables."""
    if run.unread_base is not None:
        console.print(
            f"{run.unread_base} has no config.json that can be read here: these figures are of the"
            f" published shape that the recipe {run.recipe} is written for, not of this base."
        )
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
    shapes: BaseShapes,
    values: Mapping[str, Any],
    *,
    is_first: bool,
) -> StageCount:
    stage = recipe.first if is_first else recipe.second
    trained = _trained(recipe, shapes, is_first=is_first)
    num_trained = sum(parameter.numel() for parameter in trained.values())
    tokens = row_tokens(recipe, shapes.sizes, stage.num_pairs)
    part = rehearse(recipe, values, num_tokens=tokens, is_first=is_first)
    num_parts = stage.plan.num_steps * stage.plan.num_parts
    memory = {
        "frozen weights": _frozen_bytes(recipe, shapes, is_first=is_first),
        "trained weights, gradients": float(num_trained * TRAINED_BYTES),
        "optimizer": float(moment_bytes(trained, stage.plan)),
        "activations": float(part.activation_bytes),
    }
    return StageCount(
        stage.plan.name,
        num_trained,
        memory,
        tokens,
        stage.plan.num_steps,
        num_parts * stage.num_users,
        float(num_parts * part.flops),
    )


def _trained(recipe: Recipe, shapes: BaseShapes, *, is_first: bool) -> dict[str, nn.Parameter]:
    """What a stage trains, without data, as `training.fitting.assembly` has it."""
    shape = (recipe.scorer.num_preference_tokens, shapes.sizes.text.hidden_size)
    tokens = {PREFERENCE_TOKENS: nn.Parameter(torch.empty(shape, device="meta"))}
    adapter = {
        name: parameter
        for name, parameter in shapes.model.named_parameters()
        if is_first and ("lora_" in name or WHOLE in name)
    }
    return adapter | tokens


def _frozen_bytes(recipe: Recipe, base: BaseShapes, *, is_first: bool) -> float:
    """Linear layers in NF4 if so configured, the others in their dtype; in stage 2 the adapter too.

    A module that was trained whole is there twice, as it was and as it became.
    """
    held = recipe.base.first if is_first else recipe.base.second
    kept = (*base.family.never_quantized, *recipe.lora.whole)
    total = 0.0
    for name, parameter in base.model.named_parameters():
        is_adapter = "lora_" in name or "modules_to_save" in name
        if is_adapter and is_first:
            continue
        is_quantised = held.quantization == "nf4" and parameter.ndim == 2
        is_quantised = is_quantised and not is_adapter and not any(mark in name for mark in kept)
        width = WIDTHS["float32" if "lora_" in name else held.dtype]
        total += parameter.numel() * (NF4_BYTES if is_quantised else width)
    return total
