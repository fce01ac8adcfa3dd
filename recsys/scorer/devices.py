"""Whether the installed PyTorch can compute on a device, asked before any weights are read."""

import torch

from recsys.errors import PreconditionFailed, SettingsRefused


def require_device(device: str) -> None:
    """Refuse a device that this PyTorch or this machine does not have.

    Args:
        device: "cpu", "cuda" or "cuda:N".

    Raises:
        SettingsRefused: if the name is none of these.
        PreconditionFailed: if PyTorch was built without CUDA, or has no such GPU to work on.
    """
    kind, number = _taken_apart(device)
    if kind == "cpu":
        return
    if not torch.backends.cuda.is_built():
        raise PreconditionFailed(
            f"device {device} needs a PyTorch with CUDA, and torch {torch.__version__} was built"
            " without it: pass --device cpu, or install a CUDA build of torch"
        )
    num_gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if number >= num_gpus:
        raise PreconditionFailed(
            f"device {device} needs {number + 1} or more GPUs, torch {torch.__version__} finds"
            f" {num_gpus or 'none'} here: pass --device cpu, or look at the driver with nvidia-smi"
        )


def _taken_apart(device: str) -> tuple[str, int]:
    try:
        known = torch.device(device)
    except RuntimeError:
        known = None
    if known is None or known.type not in ("cpu", "cuda"):
        raise SettingsRefused(f"device must be cpu, cuda or cuda:N, got {device!r}: pass one")
    return known.type, known.index or 0
