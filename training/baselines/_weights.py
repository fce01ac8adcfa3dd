"""Public weights as their authors publish them, read from a local folder; none is run."""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from recsys.errors import CheckpointRefused

MODEL_FILE = "model.safetensors"


class WeightsMissing(LookupError):
    """A baseline's public weights are not in the folder named; the message says which file."""


def require(folder: Path, names: Iterable[str], *, source: str) -> None:
    """Check that files are there before anything is read.

    Args:
        folder: where they should be.
        names: of the files.
        source: who publishes them; for the message.

    Raises:
        WeightsMissing: naming every file that is not there.
    """
    missing = [str(folder / name) for name in names if not (folder / name).is_file()]
    if missing:
        raise WeightsMissing(f"{', '.join(missing)} must be there: copy from {source}")


def require_model(folder: Path, extra: Iterable[str], *, source: str) -> None:
    """Check that a hub repository's config and safetensors are there, every shard of them.

    Args:
        folder: a copy of the repository.
        extra: further files that must be there.
        source: who publishes them; for the message.

    Raises:
        WeightsMissing: naming every file that is not there.
        CheckpointRefused: if the list of shards cannot be read.
    """
    index = folder / f"{MODEL_FILE}.index.json"
    shards = _shards(index) if index.is_file() else [MODEL_FILE]
    require(folder, ["config.json", *shards, *extra], source=source)


def _shards(index: Path) -> list[str]:
    weight_map = read_json(index).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise CheckpointRefused(f"{index} must hold a weight_map, and has none: copy it again")
    return sorted(set(weight_map.values()))


def read_json(path: Path) -> dict[str, Any]:
    """An object from a JSON file.

    Raises:
        CheckpointRefused: if it cannot be read, or holds something else.
    """
    try:
        value = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointRefused(f"{path} must be readable JSON: {error}") from error
    if not isinstance(value, dict):
        raise CheckpointRefused(f"{path} must be a JSON object, got {type(value).__name__}")
    return value


def read_torch_file(path: Path, *, key: str | None = None) -> dict[str, Tensor]:
    """Tensors by name, in float32 where they are fractional, from a file of torch's own format.

    Only tensors and plain containers are admitted: a file that asks for anything else is refused
    before any of it is built.

    Args:
        path: a state dict, as `torch.save` writes it.
        key: under which the state dict lies, where the file holds more.

    Raises:
        CheckpointRefused: if the file is damaged, holds anything but tensors or lacks `key`.
    """
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content if key is None else content[key]
        return {name: _as_float32(tensor) for name, tensor in state.items()}
    except Exception as error:
        # The zip reader, the restricted unpickler and wrong contents each raise their own kinds.
        raise CheckpointRefused(f"{path} must hold tensors by name: {error!r}") from error


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def fill(model: nn.Module, state: Mapping[str, Tensor], *, path: Path) -> None:
    """Load a state dict that must fit exactly, with no missing and no unexpected weight.

    Args:
        model: gets the weights.
        state: by the model's own names.
        path: where they came from; for the message.

    Raises:
        CheckpointRefused: if names or shapes differ.
    """
    try:
        model.load_state_dict(dict(state))
    except RuntimeError as error:
        raise CheckpointRefused(f"{path} must fit the architecture it is for: {error}") from error
