"""What an H100 would ask of the data side, by arithmetic, and whether it would be served."""

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from recsys.counts import counted
from recsys.scorer.registry import FAMILIES
from training.data.rates import DataRate
from training.fitting.recipes.recipe import Recipe
from training.fitting.rehearsal import rehearse
from training.fitting.row_tokens import row_tokens

PEAK_FLOPS = 989e12
"""A second, of an H100 SXM with dense bfloat16: NVIDIA H100 Tensor Core GPU, data sheet."""

UTILISATION = 0.4
"""Assumed share of the peak that a step reaches."""

LARGE_FLOPS = 1e11
"""A part's FLOPs an image from which on the estimate means something: 0.25 ms of an H100 at the
assumed share. Of less, it is launching kernels that takes the time, which no FLOPs count."""

SLOWER = 0.1
"""How much longer a step may take for reading, where the process that trains reads by itself."""


@dataclass(frozen=True)
class Demand:
    """Images that a stage needs on an H100.

    Attributes:
        flops: of one part of a step, forward and backward, as a dry run counts them.
        part_s: that a part takes at the assumed share of the peak.
        num_images: different images of a part, on average.
    """

    flops: int
    part_s: float
    num_images: float

    @property
    def images_per_s(self) -> float:
        """Images that are asked for each second."""
        return self.num_images / self.part_s


def demand(
    recipe: Recipe,
    values: Mapping[str, Any],
    *,
    num_images: float,
    is_first: bool,
    has_tokens: bool = False,
) -> Demand:
    """Estimate what a stage asks for: part_s = FLOPs / (PEAK_FLOPS * UTILISATION).

    Args:
        recipe: of the run.
        values: of the base's configuration, `model_type` among them.
        num_images: different images of a part, on average.
        is_first: of stage 1, else of stage 2.
        has_tokens: image tokens are taken from where they are kept, not made.
    """
    recipe = replace(recipe, encodes_once=recipe.encodes_once or has_tokens)
    stage = recipe.first if is_first else recipe.second
    sizes = FAMILIES[values["model_type"]].dimensions(values)
    num_tokens = row_tokens(recipe, sizes, stage.num_pairs)
    flops = rehearse(recipe, values, num_tokens=num_tokens, is_first=is_first).flops
    return Demand(flops, flops / (PEAK_FLOPS * UTILISATION), num_images)


def verdict(asked: Demand, rate: DataRate) -> str:
    """Whether the data side keeps up, in a sentence, and with how many workers it would.

    Of a model below `LARGE_FLOPS` an image, that the estimate says nothing of it.

    Args:
        asked: for each GPU.
        rate: measured here.
    """
    need = asked.images_per_s
    if not need:
        return "The data side keeps up: a step reads no images, all are encoded before the first."
    each = asked.flops / asked.num_images
    if each < LARGE_FLOPS:
        return (
            "Whether the data side keeps up cannot be said: the estimate is meant for large models,"
            f" from {LARGE_FLOPS:.0e} FLOPs an image, and this one has {each:.1e}."
        )
    by = f"{rate.source}, {counted(rate.num_workers, 'worker')}"
    have = f"{rate.images_per_s:,.0f} images/s ({by}), an H100 asks for {need:,.0f}"
    if not rate.images_per_s:
        return f"The data side was not measured: there were no {rate.source}."
    longer = need / rate.images_per_s
    if rate.num_workers == 0:
        told = f"{have}, and the process that trains reads by itself: {longer:.0%} of a step more"
        if longer <= SLOWER:
            return f"The data side keeps up: {told}."
        if rate.source == "decoding":
            return f"The data side does not keep up: {told}; it needs {_workers(longer)}."
        return f"The data side does not keep up: {told}; it needs a faster disk or more memory."
    have += ", not counting what receiving them from workers takes the process that trains"
    if longer <= 1:
        return f"The data side keeps up: {have}."
    needed = _workers(longer * rate.num_workers)
    return f"The data side does not keep up: {have}; it needs {needed}."


def _workers(number: float) -> str:
    """As many workers, each as fast as those that were measured."""
    return f"--workers {math.ceil(number)} on as many free cores, {os.cpu_count()} are here"
