"""AdamW with moments of 8 bits (Dettmers et al., 2022); bitsandbytes' optimizers enter here alone.

The moments of a parameter take 2 bytes a number in place of 8. Parameters of fewer than 4,096
numbers keep theirs in float32.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from recsys.errors import PreconditionFailed

STATE_KEYS = ("step", "state1", "state2", "absmax1", "absmax2")
"""What it keeps of each parameter, beside two tables that are the same for all."""

_TABLES = {"qmap1": "dynamic", "qmap2": "udynamic"}

_LEAST_NUMEL = 4_096
"""Fewer numbers keep their moments in float32: the library's `min_8bit_size`."""

_BLOCK = 256
"""Numbers that share one float32 constant: the library's `blocksize`."""


def adamw_8bit(groups: Sequence[Mapping[str, Any]], *, rate: float) -> torch.optim.Optimizer:
    """An AdamW of the library, tried out on the device of the parameters.

    Args:
        groups: of parameters, as an optimizer of PyTorch takes them; at least one.
        rate: of learning, where a group has none of its own.

    Raises:
        PreconditionFailed: if the library is missing or cannot compute on that device.
    """
    device = next(iter(groups[0]["params"])).device
    try:
        from bitsandbytes.optim.adamw import AdamW8bit

        make: Any = AdamW8bit  # which the library does not type
        trial = nn.Parameter(torch.ones(_LEAST_NUMEL, device=device))
        trial.grad = torch.ones_like(trial)
        make([trial]).step()
    except (ImportError, NotImplementedError, RuntimeError) as error:
        raise PreconditionFailed(
            f"optimizer_bits of 8 needs a bitsandbytes that computes on {device.type}, this one"
            f" does not ({error}): pip install -U 'recsys-images[gpu]', or leave it at 32"
        ) from error
    return cast(torch.optim.Optimizer, make(groups, lr=rate))


def moment_bytes(numel: int) -> int:
    """What both moments of a parameter take: a byte a number each, and a constant a block.

    Args:
        numel: numbers of the parameter.
    """
    if numel < _LEAST_NUMEL:
        return 2 * 4 * numel
    return 2 * (numel + 4 * math.ceil(numel / _BLOCK))


def is_8bit(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer is of this module."""
    return hasattr(optimizer, "name2qmap")


def resumed(state: Mapping[str, Tensor], optimizer: Any, device: torch.device) -> dict[str, Any]:
    """A parameter's state as the library has it: a plain number of steps, and the tables again.

    Args:
        state: saved, by STATE_KEYS.
        optimizer: of `adamw_8bit`.
        device: of the parameter.
    """
    tables = {
        name: optimizer.name2qmap[table].to(device)
        for name, table in _TABLES.items()
        if "absmax1" in state
    }
    kept = {name: value.to(device) for name, value in state.items() if name != "step"}
    return {**kept, **tables, "step": int(state["step"])} if state else {}
