"""Muon (Jordan et al., 2024) in float32, with matrices of one shape orthogonalised together.

PyTorch's own orthogonalises in bfloat16, one matrix after another. A CPU without that type emulates
it: on one, that was four fifths of a step of the tiny base.
"""

from collections import defaultdict
from collections.abc import Callable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn


class Muon(torch.optim.Muon):
    """`torch.optim.Muon`, whose arguments, momentum and state it has; a step's arithmetic differs.

    The rate is as "match_rms_adamw" of PyTorch's has it (Liu et al., 2025): AdamW's rates serve.
    """

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update each matrix by its orthogonalised momentum."""
        assert closure is None
        for group in self.param_groups:
            by_shape: dict[torch.Size, list[nn.Parameter]] = defaultdict(list)
            for parameter in group["params"]:
                if parameter.grad is not None:
                    by_shape[parameter.shape].append(parameter)
            for parameters in by_shape.values():
                self._step_together(parameters, group)

    def _step_together(self, parameters: list[nn.Parameter], group: dict[str, Any]) -> None:
        updates = torch.stack([self._momentum(each, group) for each in parameters])
        directions = orthogonalised(updates, group["ns_coefficients"], group["ns_steps"])
        rate = group["lr"] * 0.2 * max(updates.shape[1:]) ** 0.5
        for parameter, direction in zip(parameters, directions, strict=True):
            parameter.mul_(1 - group["lr"] * group["weight_decay"])
            parameter.add_(direction, alpha=-rate)

    def _momentum(self, parameter: nn.Parameter, group: dict[str, Any]) -> Tensor:
        gradient = parameter.grad
        assert gradient is not None
        state = self.state[parameter]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer: Tensor = state["momentum_buffer"]
        buffer.lerp_(gradient, 1 - group["momentum"])
        return gradient.lerp(buffer, group["momentum"]) if group["nesterov"] else buffer


def orthogonalised(
    matrices: Float[Tensor, "N R C"], coefficients: tuple[float, float, float], num_steps: int
) -> Float[Tensor, "N R C"]:
    """Singular values brought to about 1 by a quintic Newton-Schulz iteration.

    Args:
        matrices: of one shape.
        coefficients: a, b, c of a X + b (X Xᵀ) X + c (X Xᵀ)² X.
        num_steps: iterations.
    """
    a, b, c = coefficients
    is_tall = matrices.shape[1] > matrices.shape[2]
    x: Tensor = matrices.mT if is_tall else matrices
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(num_steps):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.transpose(1, 2) if is_tall else x
