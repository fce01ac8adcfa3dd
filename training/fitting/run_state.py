"""A run's state on disk: weights, optimizer state and loss scale in a safetensors file.

A file is replaced atomically.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from storage.files import replace_file
from training.fitting.loss_scaling import LossScaling
from training.fitting.optimizer import Optimizers

Parameters = Mapping[str, nn.Parameter]

OFF = LossScaling(is_on=False)


class RunNotSaved(OSError):
    """A state could not be written; the last saved one is kept."""


class StateFile:
    """Weights, optimizer state, loss scale and the number of steps taken.

    Args:
        path: of the file.
        identity: of the run; a state of another run is refused.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity

    def save(
        self,
        parameters: Parameters,
        optimizers: Optimizers,
        step: int,
        scaling: LossScaling = OFF,
    ) -> None:
        """Replace the state.

        Raises:
            RunNotSaved: if it cannot be written; the last one is kept.
        """
        tensors = {f"weight.{name}": p.detach().contiguous() for name, p in parameters.items()}
        tensors |= optimizers.state_tensors() | scaling.state_tensors()
        tensors["step"] = torch.tensor(step)
        write_tensors(tensors, self.path, {"identity": self.identity})

    def load(
        self, parameters: Parameters, optimizers: Optimizers, scaling: LossScaling = OFF
    ) -> int:
        """Load the state; return the number of steps done, 0 if there is no state.

        Raises:
            ValueError: if the file is damaged or belongs to another run.
        """
        if not self.path.exists():
            return 0
        tensors, metadata = read_tensors(self.path)
        _check_owner(self.path, metadata, self.identity)
        check_weights(self.path, parameters, tensors)
        copy_weights(parameters, tensors)
        optimizers.load_state_tensors(tensors)
        scaling.load_state_tensors(tensors)
        return int(tensors["step"])


class BestFile:
    """The weights with the best validation figure, in a file beside the state.

    Args:
        path: of the file.
        identity: of the run; a file of another run is refused.
    """

    def __init__(self, path: Path, identity: str) -> None:
        self.path = path
        self.identity = identity

    def figure(self) -> float | None:
        """The best figure so far, higher is better; None before the first.

        Raises:
            ValueError: if the file is damaged or belongs to another run.
        """
        if not self.path.exists():
            return None
        metadata = read_metadata(self.path)
        _check_owner(self.path, metadata, self.identity)
        return float(metadata["figure"])

    def offer(self, parameters: Parameters, figure: float, step: int) -> bool:
        """Save the weights if they are better than those saved; return whether they were.

        NaN is never better.

        Raises:
            RunNotSaved: if they cannot be written; the best so far are kept.
        """
        best = self.figure()
        if math.isnan(figure) or (best is not None and best >= figure):
            return False
        tensors = {f"weight.{name}": p.detach().contiguous() for name, p in parameters.items()}
        metadata = {"identity": self.identity, "figure": repr(figure), "step": str(step)}
        write_tensors(tensors, self.path, metadata)
        return True

    def restore(self, parameters: Parameters) -> None:
        """Load the best weights.

        Raises:
            ValueError: if the file is damaged or belongs to another run.
        """
        tensors, metadata = read_tensors(self.path)
        _check_owner(self.path, metadata, self.identity)
        check_weights(self.path, parameters, tensors)
        copy_weights(parameters, tensors)


def saved_identity(path: Path) -> str | None:
    """The identity that a state was saved with; None: there is no state.

    Raises:
        ValueError: if it is damaged.
    """
    return read_metadata(path).get("identity") if path.exists() else None


def _check_owner(path: Path, metadata: Mapping[str, str], identity: str) -> None:
    if metadata.get("identity") != identity:
        raise ValueError(f"{path} belongs to another run: choose another folder or remove it")


def check_weights(path: Path, parameters: Parameters, tensors: Mapping[str, Tensor]) -> None:
    """Check that a file holds each parameter in its shape, and no other.

    Raises:
        ValueError: if it does not; unchecked, a smaller tensor would be broadcast.
    """
    saved = {name: value.shape for name, value in tensors.items() if name.startswith("weight.")}
    if saved != {f"weight.{name}": value.shape for name, value in parameters.items()}:
        raise ValueError(
            f"{path} holds other parameters than the model: choose another folder or remove it"
        )


def copy_weights(parameters: Parameters, tensors: Mapping[str, Tensor]) -> None:
    """Copy saved weights into the parameters of the same names."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(tensors[f"weight.{name}"])


def write_tensors(tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str]) -> None:
    """Replace a safetensors file, whole or not at all.

    Raises:
        RunNotSaved: if the disk is full or not writable; the old file is kept.
    """
    try:
        with replace_file(path, is_only_writer=True) as temporary:
            save_file(dict(tensors), temporary, metadata=metadata)
    # safetensors reports a full disk in an error of its own.
    except (OSError, SafetensorError) as error:
        raise RunNotSaved(
            f"{path} could not be saved ({error}): free some disk space and run again, "
            "the last saved state is kept"
        ) from error


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises:
        ValueError: if it is damaged.
    """
    metadata = read_metadata(path)
    try:
        return load_file(path), metadata
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: remove it to start again") from error


def read_metadata(path: Path) -> dict[str, str]:
    """Metadata of a safetensors file, without reading its tensors.

    Raises:
        ValueError: if it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            metadata = cast(dict[str, str] | None, file.metadata())
    except SafetensorError as error:
        raise ValueError(f"{path} is damaged: remove it to start again") from error
    return dict(metadata or {})


def identity_of(values: Mapping[str, object]) -> str:
    """The values that decide a run, as text to compare."""
    return json.dumps(values, sort_keys=True, default=str)


def recipe_digest(values: Mapping[str, object]) -> str:
    """SHA-256 of all values of a recipe: runs of different recipes must not mix."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
