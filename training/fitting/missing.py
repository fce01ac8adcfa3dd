"""Requirements of a run that this machine does not meet."""

from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache

from training.fitting.recipes.recipe import Recipe


def missing(recipe: Recipe, *, memory_bytes: float, num_devices: int = 1) -> Iterator[str]:
    """Yield each requirement that is not met, in a sentence; nothing is downloaded.

    Args:
        recipe: of the run.
        memory_bytes: that the run needs on one device.
        num_devices: GPUs that the run is planned for.
    """
    base = recipe.base
    if base.source is not None and not Path(base.source).is_dir():
        cached = try_to_load_from_cache(base.source, "config.json", revision=base.revision)
        if not isinstance(cached, str):
            yield f"weights: {base.source} is neither a folder nor in the hub's cache"
    if base.source is None:
        yield "weights: name a base model with --base"
    is_quantised = "nf4" in (base.first.quantization, base.second.quantization)
    if is_quantised and find_spec("bitsandbytes") is None:
        yield "bitsandbytes: pip install 'recsys-images[gpu]'"
    if base.source is not None and not torch.cuda.is_available():
        yield f"CUDA: the run needs {num_devices} GPU(s), this machine has none"
    elif base.source is not None:
        yield from _too_small(memory_bytes, num_devices)


def _too_small(memory_bytes: float, num_devices: int) -> Iterator[str]:
    if torch.cuda.device_count() < num_devices:
        yield f"GPUs: the run needs {num_devices}, this machine has {torch.cuda.device_count()}"
    room = torch.cuda.get_device_properties(0).total_memory
    if room < memory_bytes:
        yield (
            f"memory: the run needs {memory_bytes / 1e9:.0f} GB on each GPU, this machine's have"
            f" {room / 1e9:.0f}"
        )
