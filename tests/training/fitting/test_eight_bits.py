"""AdamW's moments in 8 bits: smaller, resumed as they were, near what 32 bits learn, or refused."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from torch import nn

from recsys.errors import PreconditionFailed
from training.fitting.eight_bits import moment_bytes
from training.fitting.plan import Plan
from training.fitting.run_state import read_tensors
from training.fitting.trainer import Run, fit

PLAN = Plan(
    "part",
    num_steps=12,
    learning_rate=1e-2,
    num_warmup_steps=2,
    optimizer_bits=8,
    save_every_s=0.0,
)
NO_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=[pytest.mark.gpu, NO_GPU])]


def train(
    folder: Path, device: str = "cpu", stop_at: int | None = None, plan: Plan = PLAN
) -> dict[str, torch.Tensor]:
    """A layer with a matrix that is large enough for 8 bits, and a bias that is not."""
    torch.manual_seed(0)
    layer = nn.Linear(64, 64).to(device)

    def step_loss(step: int, part: int):
        if step == stop_at:
            raise InterruptedError
        return (layer(torch.randn(8, 64, device=device)) - 1).square().mean(), {}

    fit(step_loss, dict(layer.named_parameters()), plan, run=Run(folder, Console(quiet=True)))
    return {name: each.detach().clone() for name, each in layer.named_parameters()}


@pytest.mark.parametrize("device", DEVICES)
def test_a_resumed_run_keeps_its_moments(tmp_path, device) -> None:
    whole = train(tmp_path / "whole", device)
    with pytest.raises(InterruptedError):
        train(tmp_path / "cut", device, stop_at=6)
    resumed = train(tmp_path / "cut", device)
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)
    states = [
        read_tensors(tmp_path / name / "part.state.safetensors")[0] for name in ("whole", "cut")
    ]
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("device", DEVICES)
def test_it_learns_nearly_what_32_bits_learn(tmp_path, device) -> None:
    eight = train(tmp_path / "8", device)
    exact = train(tmp_path / "32", device, plan=replace(PLAN, optimizer_bits=32))
    begun = train(tmp_path / "0", device, plan=replace(PLAN, num_steps=0))
    ways = [(each["weight"] - begun["weight"]).flatten() for each in (eight, exact)]
    assert torch.cosine_similarity(*ways, dim=0) > 0.98
    torch.testing.assert_close(eight["bias"], exact["bias"], rtol=0.05, atol=1e-3)


def test_moments_of_large_parameters_take_a_byte(tmp_path) -> None:
    train(tmp_path)
    saved, _ = read_tensors(tmp_path / "part.state.safetensors")
    assert saved["state1.weight"].dtype == saved["state2.weight"].dtype == torch.uint8
    assert saved["state1.bias"].dtype == torch.float32
    assert not any("qmap" in name for name in saved)
    kept = [each.nbytes for name, each in saved.items() if name.startswith(("state", "absmax"))]
    assert sum(kept) == moment_bytes(64 * 64) + moment_bytes(64)


def test_a_library_without_the_device_is_refused_in_a_sentence(tmp_path, monkeypatch) -> None:
    def missing(*arguments: object, **options: object) -> None:
        raise NotImplementedError("no kernel")

    monkeypatch.setattr("bitsandbytes.functional.optimizer_update_8bit_blockwise", missing)
    with pytest.raises(PreconditionFailed, match=r"computes on cpu, .*\(no kernel\).*at 32"):
        train(tmp_path)


def test_other_numbers_of_bits_are_refused() -> None:
    with pytest.raises(ValueError, match="optimizer_bits must be 32 or 8, got 16"):
        replace(PLAN, optimizer_bits=16)
