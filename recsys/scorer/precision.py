"""Half precision: what a base model computes in, beside weights that are trained in float32."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

HALF = (torch.bfloat16, torch.float16)


def computing_in(
    dtype: torch.dtype, device: torch.device, *modules: nn.Module
) -> AbstractContextManager[None]:
    """A context in which a base that is held in half precision computes in that type.

    Weights that are trained are float32 (Micikevicius et al., 2018, section 3.1) and are rounded
    where they are used; what is sensitive to rounding is computed in float32, as autocast has it.
    Where all weights have one type, as for inference, they compute in it and autocast is left out.

    Args:
        dtype: of the base; float32 and float64 change nothing.
        device: where it computes.
        modules: what computes.
    """
    if dtype in HALF and any(_holds_others(module, dtype) for module in modules):
        return torch.autocast(device.type, dtype)
    return nullcontext()


def _holds_others(module: nn.Module, dtype: torch.dtype) -> bool:
    parameters = module.parameters()
    return any(each.dtype != dtype for each in parameters if each.is_floating_point())
