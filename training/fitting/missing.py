"""Requirements of a run that this machine does not meet."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import torch
from huggingface_hub import try_to_load_from_cache
from huggingface_hub.errors import HFValidationError

from recsys.counts import counted
from recsys.errors import CheckpointRefused, PreconditionFailed
from recsys.scorer.devices import free_memory_bytes, require_device
from recsys.scorer.digests import sampled_weights_digest
from recsys.scorer.pretrained import load_tokenizer
from training.fitting.recipes.recipe import Recipe


def missing(
    recipe: Recipe,
    *,
    memory_bytes: float,
    num_devices: int = 1,
    base: str | None = None,
    device: str | None = None,
) -> Iterator[str]:
    """Yield each requirement that is not met, in a sentence; nothing is downloaded.

    Args:
        recipe: of the run.
        memory_bytes: that the run needs on one device.
        num_devices: GPUs that the run is planned for.
        base: folder or hub id of the base model; None: the recipe's.
        device: to train on; None: CUDA for a recipe that names a base, else the CPU.

    Raises:
        SettingsRefused: if `device` is none of "cpu", "cuda" or "cuda:N".
    """
    yield from _of_base(base or recipe.base.source, recipe.base.revision)
    is_quantised = "nf4" in (recipe.base.first.quantization, recipe.base.second.quantization)
    if is_quantised and find_spec("bitsandbytes") is None:
        yield "bitsandbytes: pip install 'recsys-images[gpu]'"
    device = device or ("cpu" if recipe.base.source is None else "cuda")
    with suppress(PreconditionFailed):  # a device that is not there is told below, in its own words
        require_device(device)
    if torch.device(device).type == "cuda":
        yield from _of_gpus(torch.device(device), memory_bytes, num_devices)
    elif (room := free_memory_bytes(device)) < memory_bytes:
        yield (
            f"memory: the run needs {memory_bytes / 1e9:.1f} GB, this machine has"
            f" {room / 1e9:.1f} to give"
        )


def _of_base(source: str | None, revision: str | None) -> Iterator[str]:
    if source is None:
        yield "weights: name a base model with --base"
    elif Path(source).is_dir():
        yield from _of_folder(Path(source))
    elif (cached := _cached(source, revision)) is not None:
        yield from _of_folder(cached)
    else:
        yield f"weights: {source} is neither a folder nor in the hub's cache"


def _of_folder(folder: Path) -> Iterator[str]:
    """What training would refuse of a base's files."""
    patterns = ("config.json", "model*.safetensors")
    lacking = [pattern for pattern in patterns if not any(folder.glob(pattern))]
    for pattern in lacking:
        yield f"weights: {folder} has no {pattern}"
    if not lacking:
        yield from _refused("weights", sampled_weights_digest, folder)
    yield from _refused("tokenizer", load_tokenizer, folder)


def _refused(what: str, read: Callable[[Path], object], folder: Path) -> Iterator[str]:
    try:
        read(folder)
    except CheckpointRefused as error:
        yield f"{what}: {error}"


def _cached(source: str, revision: str | None) -> Path | None:
    """Where the hub's cache has a base, whole or in part; None if it has nothing."""
    try:
        config = try_to_load_from_cache(source, "config.json", revision=revision)
    except HFValidationError:  # a path can be no id
        return None
    return Path(config).parent if isinstance(config, str) else None


def _of_gpus(device: torch.device, memory_bytes: float, num_devices: int) -> Iterator[str]:
    if not torch.cuda.is_available():
        yield f"CUDA: the run needs {counted(num_devices, 'GPU')}, this machine has none"
        return
    number, count = device.index or 0, torch.cuda.device_count()
    if count < max(num_devices, number + 1):
        yield f"GPUs: the run needs {max(num_devices, number + 1)}, this machine has {count}"
    if number >= count:
        return
    room = torch.cuda.get_device_properties(number).total_memory
    if room < memory_bytes:
        yield (
            f"memory: the run needs {memory_bytes / 1e9:.0f} GB on each GPU, this machine's have"
            f" {room / 1e9:.0f}"
        )
