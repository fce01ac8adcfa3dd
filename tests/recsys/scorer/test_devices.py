"""Which devices and types a model may be asked to run on and in, and what is said of others."""

from collections.abc import Mapping
from pathlib import Path

import psutil
import pytest
import torch

from recsys.errors import PreconditionFailed, SettingsRefused
from recsys.scorer import devices
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.devices import DTYPES, free_memory_bytes, require_device, require_dtype


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch):
    """Let PyTorch say of itself what the test wants."""

    def say(*, is_built: bool, num_gpus: int = 0) -> None:
        monkeypatch.setattr(torch.backends.cuda, "is_built", lambda: is_built)
        monkeypatch.setattr(torch.cuda, "is_available", lambda: num_gpus > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: num_gpus)

    return say


def test_a_build_without_cuda_is_named_with_the_remedy_instead_of_the_base_model(cuda) -> None:
    cuda(is_built=False)
    with pytest.raises(PreconditionFailed) as refused:
        load_scorer("tiny", device="cuda")
    message = str(refused.value)
    assert f"torch {torch.__version__} was built without it" in message
    assert "pass --device cpu, or install a CUDA build" in message
    assert "base model" not in message


def test_a_build_with_cuda_and_no_gpu_is_another_matter(cuda) -> None:
    cuda(is_built=True)
    with pytest.raises(PreconditionFailed, match=r"finds none here: pass --device cpu, or look"):
        load_scorer("tiny", device="cuda")


def test_only_gpus_that_are_there_can_be_chosen_by_number(cuda) -> None:
    cuda(is_built=True, num_gpus=2)
    for device in ("cpu", "cuda", "cuda:0", "cuda:1"):
        require_device(device)
    with pytest.raises(PreconditionFailed, match=r"cuda:2 needs 3 or more GPUs, .* finds 2 here"):
        require_device("cuda:2")


@pytest.mark.parametrize("device", ["gpu", "", "cuda:x", "meta", "mps"])
def test_a_name_that_is_no_device_is_a_wrong_setting(device: str) -> None:
    with pytest.raises(SettingsRefused, match="device must be cpu, cuda or cuda:N, got"):
        require_device(device)


@pytest.mark.parametrize("dtype", ["int8", "", "float64", "torch.float16", "auto"])
def test_a_name_that_is_no_type_is_a_wrong_setting(dtype: str) -> None:
    with pytest.raises(SettingsRefused, match="dtype must be float32, float16, bfloat16, got"):
        require_dtype(dtype, "cpu")


def test_a_type_that_the_processor_lacks_is_refused_before_the_base_is_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    convolve = torch.nn.functional.conv2d

    def without_half(x: torch.Tensor, *others: torch.Tensor) -> torch.Tensor:
        if x.dtype == torch.float16:
            raise RuntimeError("\"slow_conv2d_cpu\" not implemented for 'Half'")
        return convolve(x, *others)

    monkeypatch.setattr(torch.nn.functional, "conv2d", without_half)
    for dtype in set(DTYPES) - {"float16"}:
        require_dtype(dtype, "cpu")
    with pytest.raises(PreconditionFailed) as refused:
        load_scorer("tiny", dtype="float16")
    message = str(refused.value)
    assert "dtype float16 must be one that torch" in message
    assert "not implemented for 'Half'): pass another --dtype" in message


@pytest.mark.parametrize(
    ("files", "num_bytes"),
    [
        ({}, 1000),
        ({"memory.max": "max", "memory.current": "70", "memory.stat": "inactive_file 1"}, 1000),
        ({"memory.max": "5000", "memory.current": "70", "memory.stat": "inactive_file 1"}, 1000),
        (
            {
                "memory.max": "500",
                "memory.current": "400",
                "memory.stat": "anon 9\ninactive_file 50",
            },
            150,
        ),
        ({"memory.max": "500", "memory.current": "700", "memory.stat": "inactive_file 50"}, 0),
    ],
)
def test_free_memory_of_the_host_is_what_its_container_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, files: Mapping[str, str], num_bytes: int
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    memory = psutil.virtual_memory()._replace(available=1000)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: memory)
    monkeypatch.setattr(devices, "_CGROUP", tmp_path)
    assert free_memory_bytes("cpu") == num_bytes


def test_free_memory_of_a_gpu_is_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    free = {"cuda": (7, 9), "cuda:1": (5, 9)}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: free[device])
    assert [free_memory_bytes(device) for device in free] == [7, 5]
