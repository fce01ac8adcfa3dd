"""Dynamic loss scaling: PyTorch's numbers, steps left out, and an end where nothing helps."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

from training.fitting.loss_scaling import FIRST, LossScaling
from training.fitting.plan import Plan
from training.fitting.run_state import read_tensors
from training.fitting.trainer import LossNotFinite, Run, fit

PLAN = Plan(
    "part", num_steps=6, learning_rate=0.1, num_warmup_steps=0, num_parts=2, save_every_s=0.0
)
QUIET = Console(quiet=True)
TOO_LARGE = 1e4
"""A slope that overflows float16 at the first loss scale and not at an eighth of it."""


@given(overflows=st.lists(st.booleans(), max_size=30), interval=st.integers(1, 5))
def test_the_scale_is_that_of_the_librarys_scaler(overflows, interval) -> None:
    parameter = nn.Parameter(torch.ones(2))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    theirs = torch.amp.GradScaler("cpu", growth_interval=interval)
    ours = LossScaling(is_on=True)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("training.fitting.loss_scaling.GROWS_AFTER", interval)
        for overflow in overflows:
            slope = float("inf") if overflow else 3.0
            theirs.scale(parameter.sum() * slope).backward()
            theirs.unscale_(optimizer)
            theirs.step(optimizer)
            theirs.update()
            if not overflow:
                assert torch.equal(parameter.grad, torch.full((2,), 3.0))
            parameter.grad = None
            ours.scaled(parameter.sum() * slope).backward()
            ours.unscale([parameter])
            assert bool(parameter.grad.isfinite().all()) == (not overflow)
            (ours.back_off if overflow else ours.keep)()
            parameter.grad = None
            assert ours.scale == theirs.get_scale()


def in_float16(weight: nn.Parameter, *, slopes: dict[tuple[int, int], float], stop_at: int = -1):
    """The loss of a step, through a float16 value whose gradient overflows at some parts."""

    def step_loss(step: int, part: int):
        if step == stop_at:
            raise InterruptedError
        half = weight.half()
        return (half.sum().float() * slopes.get((step, part), 1e-7)), {}

    return step_loss


def train(folder: Path, slopes: dict[tuple[int, int], float], stop_at: int = -1) -> torch.Tensor:
    weight = nn.Parameter(torch.ones(3))
    run = Run(folder, QUIET, identify=lambda *at: [*at])
    loss = in_float16(weight, slopes=slopes, stop_at=stop_at)
    fit(loss, {"weight": weight}, PLAN, run=run, scales_loss=True)
    return weight.detach()


def log(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "part.log.jsonl").read_text().splitlines()]


def test_gradients_too_small_for_float16_are_learned_from(tmp_path) -> None:
    assert torch.tensor(1e-8).half() == 0
    weight = nn.Parameter(torch.ones(3))
    tiny = {(step, part): 1e-8 for step in range(6) for part in range(2)}
    fit(in_float16(weight, slopes=tiny), {"weight": weight}, PLAN, run=Run(tmp_path / "off", QUIET))
    decayed_alone = weight.detach()
    assert (train(tmp_path / "on", tiny) < decayed_alone - 0.1).all()


def test_a_step_that_overflows_is_left_out_and_said_in_the_log(tmp_path) -> None:
    train(tmp_path, {(1, 1): TOO_LARGE, (2, 0): TOO_LARGE})
    lines = log(tmp_path)
    assert [line["skipped"] for line in lines] == [0, 1, 1, 0, 0, 0]
    assert [line["loss_scale"] / FIRST for line in lines] == [1, 1, 1 / 2, 1 / 4, 1 / 4, 1 / 4]
    assert not (tmp_path / "part.bad_batch.json").exists()
    saved, _ = read_tensors(tmp_path / "part.state.safetensors")
    assert saved["step.weight"] == 4


def test_a_loss_that_is_nan_is_left_out_too(tmp_path) -> None:
    after = train(tmp_path, {(2, 1): float("nan")})
    lines = log(tmp_path)
    assert [line["skipped"] for line in lines] == [0, 0, 1, 0, 0, 0]
    assert lines[2]["loss"] is lines[2]["gradient_norm"] is None, "JSON has no NaN"
    assert after.isfinite().all()
    assert (after < 1).all()


@pytest.mark.parametrize("stop_at", [2, 4])
def test_a_resumed_run_goes_on_at_its_scale(tmp_path, stop_at) -> None:
    slopes = {(1, 1): TOO_LARGE, (3, 0): TOO_LARGE}
    whole = train(tmp_path / "whole", slopes)
    with pytest.raises(InterruptedError):
        train(tmp_path / "cut", slopes, stop_at=stop_at)
    assert torch.equal(train(tmp_path / "cut", slopes), whole)
    untimed = [
        [{**line, "seconds": 0} for line in log(tmp_path / name)] for name in ("whole", "cut")
    ]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize("slope", [1e30, float("nan")])
def test_what_no_scale_helps_ends_the_run_and_names_the_batch(tmp_path, monkeypatch, slope) -> None:
    monkeypatch.setattr("training.fitting.loss_scaling.FIRST", 4.0)
    always = {(step, 1): slope for step in range(1, 6)}
    with pytest.raises(LossNotFinite, match=r"of part is (nan|inf) at step 3.*bad_batch"):
        train(tmp_path, always)
    assert [line["skipped"] for line in log(tmp_path)] == [0, 1, 1]
    named = json.loads((tmp_path / "part.bad_batch.json").read_text())
    assert named["step"] == 3
    assert {"part": 1, "batch": [3, 1]} in named["parts"]


def test_without_scaling_nothing_of_it_is_logged_or_saved(tmp_path) -> None:
    weight = nn.Parameter(torch.ones(3))
    plan = replace(PLAN, num_steps=1)
    fit(in_float16(weight, slopes={}), {"weight": weight}, plan, run=Run(tmp_path, QUIET))
    assert not {"skipped", "loss_scale"} & set(log(tmp_path)[0])
    saved, _ = read_tensors(tmp_path / "part.state.safetensors")
    assert not any("loss_scale" in name for name in saved)
