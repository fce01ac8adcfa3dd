"""What a machine lacks for a run."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from training.fitting.recipes.recipe import Recipe


def missing(recipe: Recipe, *, memory_bytes: float, num_devices: int = 1) -> Iterator[str]:
    """Name what is not there, a sentence each; nothing is fetched.

    Args:
        recipe: of the run.
        memory_bytes: that one device needs.
        num_devices: that the run is planned for.
    """
    base = recipe.base
    if base.source is not None and not Path(base.source).is_dir():
        found = try_to_load_from_cache(base.source, "config.json", revision=base.revision)
        if not isinstance(found, str):
            yield f"weights: {base.source} is neither a folder nor in the hub's cache"
    if base.source is None:
        yield "weights: name a base model with --base"
    is_quantised = "nf4" in (base.quantization, base.second_quantization)
    if is_quantised and find_spec("bitsandbytes") is None:
        yield "bitsandbytes: pip install 'recsys[gpu]'"
    if base.source is not None and not torch.cuda.is_available():
        yield f"CUDA: the run is planned for {num_devices} GPU(s), there is none here"
    elif base.source is not None:
        yield from _too_small(memory_bytes, num_devices)


def _too_small(memory_bytes: float, num_devices: int) -> Iterator[str]:
    if torch.cuda.device_count() < num_devices:
        yield f"GPUs: {num_devices} are planned for, {torch.cuda.device_count()} are here"
    room = torch.cuda.get_device_properties(0).total_memory
    if room < memory_bytes:
        yield f"memory: {memory_bytes / 1e9:.0f} GB a device needed, {room / 1e9:.0f} are here"
