"""Half precision: what a base model computes in, beside weights that are trained in float32."""

from contextlib import AbstractContextManager, nullcontext

import torch

HALF = (torch.bfloat16, torch.float16)


def computing_in(dtype: torch.dtype, device: torch.device) -> AbstractContextManager[None]:
    """A context in which a base that is held in half precision computes in that type.

    Weights that are trained are float32 (Micikevicius et al., 2018, section 3.1) and are rounded
    where they are used; what is sensitive to rounding is computed in float32, as autocast has it.

    Args:
        dtype: of the base; float32 and float64 change nothing.
        device: where it computes.
    """
    return torch.autocast(device.type, dtype) if dtype in HALF else nullcontext()
