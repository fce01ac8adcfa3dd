"""Which parameters have which rate and decay."""

import pytest
import torch
from torch import nn

from training.fitting.optimizer import PREFERENCE_TOKENS, Optimizers, moment_bytes
from training.fitting.plan import Plan


def moved(plan: Plan) -> dict[str, float]:
    """How far each parameter goes in one step of gradient 1 from 1."""
    parameters = {
        "adapter.lora_A": nn.Parameter(torch.ones(2, 2)),
        "norm": nn.Parameter(torch.ones(2)),
        PREFERENCE_TOKENS: nn.Parameter(torch.ones(3, 2)),
    }
    optimizers = Optimizers(parameters, plan)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step(1.0)
    return {name: float(1 - parameter.detach().mean()) for name, parameter in parameters.items()}


def test_preference_tokens_learn_like_all_else_unless_they_have_a_rate() -> None:
    steps = moved(Plan("p", 1, 0.01, weight_decay=0.0))
    assert steps == pytest.approx(dict.fromkeys(steps, 0.01), rel=1e-4)


def test_preference_tokens_may_have_a_rate_and_a_decay_of_their_own() -> None:
    plan = Plan("p", 1, 0.01, weight_decay=0.5, token_learning_rate=0.1, token_weight_decay=0.0)
    steps = moved(plan)
    assert steps[PREFERENCE_TOKENS] == pytest.approx(0.1, rel=1e-4)
    assert steps["adapter.lora_A"] == pytest.approx(0.01 + 0.01 * 0.5, rel=1e-4)
    assert steps["norm"] == pytest.approx(0.01, rel=1e-4)


def test_a_schedule_scales_the_tokens_rate_too() -> None:
    parameter = nn.Parameter(torch.ones(3, 2))
    plan = Plan("p", 1, 0.01, token_learning_rate=0.1, token_weight_decay=0.0)
    optimizers = Optimizers({PREFERENCE_TOKENS: parameter}, plan)
    parameter.grad = torch.ones_like(parameter)
    optimizers.step(0.5)
    assert float(1 - parameter.detach().mean()) == pytest.approx(0.05, rel=1e-4)


@pytest.mark.parametrize("changes", [{}, {"muon": True}, {"optimizer_bits": 8}])
def test_what_the_optimizers_keep_is_counted_as_it_is(changes) -> None:
    plan = Plan("p", 1, 0.01, **changes)
    parameters = {
        "layer.weight": nn.Parameter(torch.ones(80, 80)),
        "layer.bias": nn.Parameter(torch.ones(80)),
        PREFERENCE_TOKENS: nn.Parameter(torch.ones(3, 2)),
    }
    optimizers = Optimizers(parameters, plan)
    for parameter in parameters.values():
        parameter.grad = torch.ones_like(parameter)
    optimizers.step(1.0)
    kept = [
        each.nbytes
        for name, each in optimizers.state_tensors().items()
        if not name.startswith("step.")
    ]
    assert moment_bytes(parameters, plan) == sum(kept)
