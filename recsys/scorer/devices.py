"""Whether the installed PyTorch can compute on a device, in a type, and what memory is free."""

from pathlib import Path

import psutil
import torch
import torch.nn.functional as F

from recsys.errors import PreconditionFailed, SettingsRefused

DTYPES = ("float32", "float16", "bfloat16")
"""What a base model computes in."""

_CGROUP = Path("/sys/fs/cgroup")


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


def require_dtype(dtype: str, device: str) -> None:
    """Refuse a type in which this PyTorch cannot compute what a base model does.

    It is tried on a few numbers: which types a processor has differs by the build of PyTorch, too.

    Args:
        dtype: one of `DTYPES`.
        device: one that `require_device` lets pass.

    Raises:
        SettingsRefused: if the name is none of these.
        PreconditionFailed: if an operation is not there for this type.
    """
    if dtype not in DTYPES:
        raise SettingsRefused(f"dtype must be {', '.join(DTYPES)}, got {dtype!r}: pass one")
    try:
        _try_operations(torch.ones(1, 1, 4, 4, dtype=getattr(torch, dtype), device=device))
    except RuntimeError as error:
        raise PreconditionFailed(
            f"dtype {dtype} must be one that torch {torch.__version__} computes on {device}, and it"
            f" does not ({error}): pass another --dtype"
        ) from error


def _try_operations(x: torch.Tensor) -> None:
    """Convolve, multiply, normalise and attend, as vision towers and decoders do."""
    x = F.conv2d(x, x[..., :1, :1])
    x = F.layer_norm(F.gelu(F.linear(x, x[0, 0])), (4,))
    F.scaled_dot_product_attention(x, x, x, attn_mask=torch.zeros_like(x))


def free_memory_bytes(device: str) -> int:
    """Memory that a device can still give: of the GPU, or of the host within its container's limit.

    Args:
        device: one that `require_device` lets pass.
    """
    if _taken_apart(device)[0] == "cuda":
        return int(torch.cuda.mem_get_info(device)[0])
    return min([int(psutil.virtual_memory().available), *_left_by_cgroup()])


def _left_by_cgroup() -> list[int]:
    """What the limit of a container leaves (cgroup v2, memory.max); nothing where there is none.

    Pages of files count as used there, though the kernel gives them up: they are added again.
    """
    try:
        limit = int((_CGROUP / "memory.max").read_text())
        used = int((_CGROUP / "memory.current").read_text())
        statistics = (_CGROUP / "memory.stat").read_text().split()
        files = int(statistics[statistics.index("inactive_file") + 1])
    except (OSError, ValueError):  # no such file, or "max"
        return []
    return [max(limit - used + files, 0)]


def _taken_apart(device: str) -> tuple[str, int]:
    try:
        known = torch.device(device)
    except RuntimeError:
        known = None
    if known is None or known.type not in ("cpu", "cuda"):
        raise SettingsRefused(f"device must be cpu, cuda or cuda:N, got {device!r}: pass one")
    return known.type, known.index or 0
