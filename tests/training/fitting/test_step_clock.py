"""Every instant of a step counts once, for the phase that asked for it."""

import pytest
import torch
from torch import nn

from training.fitting import step_clock
from training.fitting.step_clock import (
    BACKWARD,
    ENCODING,
    ENCODING_BACKWARD,
    FORWARD,
    MOVING,
    REST,
    StepClock,
)


class Hours:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def pass_(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def hours(monkeypatch) -> Hours:
    hours = Hours()
    monkeypatch.setattr(step_clock.time, "perf_counter", lambda: hours.now)
    return hours


class Slow(nn.Module):
    def __init__(self, hours: Hours, seconds: float) -> None:
        super().__init__()
        self.hours, self.seconds = hours, seconds

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.hours.pass_(self.seconds)
        return x * 2


def test_a_phase_within_another_interrupts_it(hours) -> None:
    clock, tower = StepClock(), Slow(hours, 4.0)
    with clock.watching([tower], ENCODING), clock.phase(MOVING):
        hours.pass_(1.0)
        tower(torch.ones(1))
        hours.pass_(2.0)
    tower(torch.ones(1))  # watched no more
    clock.end_step()
    hours.pass_(8.0)
    clock.end_step()
    assert clock.take_steps() == [{REST: 4.0, MOVING: 3.0, ENCODING: 4.0}, {REST: 8.0}]
    assert clock.take_steps() == []


def test_a_phase_that_fails_is_over(hours) -> None:
    clock = StepClock()
    with pytest.raises(RuntimeError), clock.phase(FORWARD):
        Slow(hours, 1.0)(torch.ones(2)) @ torch.ones(3)
    hours.pass_(2.0)
    clock.end_step()
    assert clock.take_steps() == [{FORWARD: 1.0, REST: 2.0}]


class SlowBackward(torch.autograd.Function):
    """Does nothing, and takes its time to do it backwards."""

    @staticmethod
    def forward(ctx, x, hours, seconds):
        ctx.hours, ctx.seconds = hours, seconds
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        ctx.hours.pass_(ctx.seconds)
        return gradient, None, None


def test_backward_is_split_where_it_reaches_the_image_tokens(hours) -> None:
    clock = StepClock()
    features = SlowBackward.apply(torch.ones(1, requires_grad=True), hours, 5.0)
    clock.split_backward(features)
    clock.split_backward(torch.ones(1))  # of a frozen tower: there is nothing to split
    loss = SlowBackward.apply(features, hours, 3.0) + features
    with clock.phase(BACKWARD):
        loss.sum().backward()
    clock.end_step()
    assert clock.take_steps() == [{REST: 0.0, BACKWARD: 3.0, ENCODING_BACKWARD: 5.0}]


def test_a_clock_that_is_off_leaves_all_as_it_is(hours) -> None:
    clock, tower = StepClock(is_on=False), Slow(hours, 1.0)
    features = torch.ones(1, requires_grad=True) * 2
    with clock.watching([tower], ENCODING), clock.phase(FORWARD):
        assert not tower._forward_hooks
        clock.split_backward(features)
        assert not features._backward_hooks
    clock.end_step()
    assert clock.take_steps() == []


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_what_a_gpu_does_counts_where_it_was_asked_for() -> None:
    clock, matrix = StepClock("cuda"), torch.ones(8192, 8192, device="cuda")
    for _ in range(2):
        with clock.phase(FORWARD):
            for _ in range(10):
                matrix @ matrix
        clock.end_step()
    step = clock.take_steps()[1]
    assert step[FORWARD] > 10 * step[REST]
