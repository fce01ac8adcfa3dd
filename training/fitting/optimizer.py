"""The optimizer: AdamW, or Muon for hidden matrices and AdamW for everything else.

Muon (Jordan et al., 2024) orthogonalises each step's matrix. On the tiny base its
image error after 600 steps was 0.18 where AdamW's best of three rates left 0.22.
"""

from collections.abc import Iterator, Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from training.fitting import eight_bits
from training.fitting.muon import Muon
from training.fitting.plan import Plan

NOT_HIDDEN = ("embed", "lm_head", "head.", "latents", "position", "lora_", "preference_tokens")
"""Parameters whose names hold one of these are left to AdamW: inputs, outputs and adapters."""

PREFERENCE_TOKENS = "preference_tokens"
"""The name of P_v, whose rate and decay are the plan's own for them."""

STATE_KEYS = ("step", "exp_avg", "exp_avg_sq", "momentum_buffer", *eight_bits.STATE_KEYS[1:])
"""What AdamW and Muon keep of each parameter and what has to be saved of it."""


class Optimizers:
    """One or two optimizers that step together under one schedule.

    Args:
        parameters: what is trained, by a name that stays the same from run to run.
        plan: learning rates and weight decay.

    Raises:
        PreconditionFailed: as `adamw_8bit`.
    """

    def __init__(self, parameters: Mapping[str, nn.Parameter], plan: Plan) -> None:
        self._parameters = parameters
        self._optimizers = list(_optimizers(parameters, plan))
        for group in self._groups():
            group["peak"] = group["lr"]

    def step(self, fraction: float) -> None:
        """Update the parameters by their gradients, then drop the gradients.

        Args:
            fraction: of the peak learning rate, in [0, 1].
        """
        for group in self._groups():
            group["lr"] = group["peak"] * fraction
        for optimizer in self._optimizers:
            optimizer.step()
        self.drop_gradients()

    def drop_gradients(self) -> None:
        """Forget the parameters' gradients."""
        for optimizer in self._optimizers:
            optimizer.zero_grad(set_to_none=True)

    def state_tensors(self) -> dict[str, Tensor]:
        """What must be saved to resume, by `<key>.<name of the parameter>`."""
        return {
            f"{key}.{name}": torch.as_tensor(value).contiguous()
            for name, parameter in self._parameters.items()
            for key, value in self._state_of(parameter).items()
            if key in STATE_KEYS and value is not None
        }

    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Resume from what `state_tensors` returned."""
        names = {parameter: name for name, parameter in self._parameters.items()}
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                for parameter in group["params"]:
                    device = parameter.device
                    state: dict[str, Any] = _saved_state(names[parameter], device, tensors)
                    if eight_bits.is_8bit(optimizer):
                        state = eight_bits.resumed(state, optimizer, device)
                    optimizer.state[parameter] = state

    def _state_of(self, parameter: nn.Parameter) -> Mapping[str, Any]:
        for optimizer in self._optimizers:
            if parameter in optimizer.state:
                return cast(Mapping[str, Any], optimizer.state[parameter])
        return {}

    def _groups(self) -> Iterator[dict[str, Any]]:
        for optimizer in self._optimizers:
            yield from optimizer.param_groups


def is_hidden(name: str, parameter: nn.Parameter) -> bool:
    """Whether Muon may update a parameter: a matrix between input and output."""
    return parameter.ndim == 2 and not any(part in name for part in NOT_HIDDEN)


def moment_bytes(parameters: Mapping[str, nn.Parameter], plan: Plan) -> int:
    """Memory that what the optimizers keep of parameters takes; tensors without data will do.

    AdamW keeps two moments of a number, Muon one.

    Args:
        parameters: what is trained, by name; float32.
        plan: decides which optimizer has which of them, and the bits of AdamW's moments.
    """
    total = 0
    for name, parameter in parameters.items():
        if plan.muon and is_hidden(name, parameter):
            total += 4 * parameter.numel()
        elif plan.optimizer_bits == 8:
            total += eight_bits.moment_bytes(parameter.numel())
        else:
            total += 2 * 4 * parameter.numel()
    return total


def _optimizers(
    parameters: Mapping[str, nn.Parameter], plan: Plan
) -> Iterator[torch.optim.Optimizer]:
    hidden = [p for name, p in parameters.items() if plan.muon and is_hidden(name, p)]
    if hidden:
        yield Muon(
            hidden,
            lr=plan.muon_learning_rate,
            weight_decay=plan.weight_decay,
            adjust_lr_fn="match_rms_adamw",
        )
    taken = {id(parameter) for parameter in hidden}
    rest = {name: p for name, p in parameters.items() if id(p) not in taken}
    if rest:
        filled = [group for group in _adamw_groups(rest, plan) if group["params"]]
        if plan.optimizer_bits == 8:
            yield eight_bits.adamw_8bit(filled, rate=plan.learning_rate)
        else:
            yield torch.optim.AdamW(filled, lr=plan.learning_rate)


def _adamw_groups(rest: Mapping[str, nn.Parameter], plan: Plan) -> Iterator[dict[str, Any]]:
    """Matrices, which decay, all else, which does not, and the preference tokens by themselves."""
    others = [p for name, p in rest.items() if name != PREFERENCE_TOKENS]
    yield {"params": [p for p in others if p.ndim >= 2], "weight_decay": plan.weight_decay}
    yield {"params": [p for p in others if p.ndim < 2], "weight_decay": 0.0}
    rate, decay = plan.token_learning_rate, plan.token_weight_decay
    yield {
        "params": [p for name, p in rest.items() if name == PREFERENCE_TOKENS],
        "lr": plan.learning_rate if rate is None else rate,
        "weight_decay": plan.weight_decay if decay is None else decay,
    }


def _saved_state(
    name: str, device: torch.device, tensors: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """One parameter's state; PyTorch keeps the step count on the CPU."""
    return {
        key: tensors[f"{key}.{name}"].to("cpu" if key == "step" else device)
        for key in STATE_KEYS
        if f"{key}.{name}" in tensors
    }
