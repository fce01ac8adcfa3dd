"""The plan of one part of a run: how long and how fast to train, and the learning-rate schedule."""

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """How long and how fast to train.

    Attributes:
        name: of this part of a run; names its files.
        num_steps: optimizer steps in all, at least 0.
        learning_rate: AdamW's, at the schedule's peak, above 0.
        num_warmup_steps: linear rise from 0.
        final_fraction: of the peak, in [0, 1], that a cosine falls to; 1 keeps the rate constant.
        weight_decay: decoupled (Loshchilov & Hutter, 2019); on matrices only.
        token_learning_rate: of the preference tokens, at the peak, above 0; None: as of all else.
        token_weight_decay: of the preference tokens, at least 0; None: as of other matrices.
        max_gradient_norm: gradients are scaled down to this L2 norm.
        seed: decides every random draw.
        num_parts: micro-batches whose gradients make one step; divides among the processes.
        muon: whether Muon updates hidden matrices, and AdamW the rest.
        muon_learning_rate: Muon's peak, on the scale of AdamW's.
        optimizer_bits: of AdamW's moments, 32 or 8.
        validate_every: steps between validations; 0: none.
        save_every_s: seconds between saves; a killed run loses at most this much work.
    """

    name: str
    num_steps: int
    learning_rate: float
    num_warmup_steps: int = 100
    final_fraction: float = 0.05
    weight_decay: float = 1e-2
    token_learning_rate: float | None = None
    token_weight_decay: float | None = None
    max_gradient_norm: float = 1.0
    seed: int = 0
    num_parts: int = 1
    muon: bool = False
    muon_learning_rate: float = 2e-3
    optimizer_bits: int = 32
    validate_every: int = 0
    save_every_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("num_steps", "num_warmup_steps", "validate_every"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} of {self.name} must be at least 0")
        if self.optimizer_bits not in (8, 32):
            raise ValueError(f"optimizer_bits must be 32 or 8, got {self.optimizer_bits}")
        if self.num_parts < 1:
            raise ValueError(f"num_parts of {self.name} must be at least 1, got {self.num_parts}")
        for rate in (self.learning_rate, self.token_learning_rate, self.muon_learning_rate):
            if rate is not None and not rate > 0:
                raise ValueError(f"a learning rate of {self.name} must be above 0, got {rate}")

    def is_validated(self, step: int) -> bool:
        """Whether the weights are validated after a step, counted from 0; the last one always."""
        every = self.validate_every
        return every > 0 and ((step + 1) % every == 0 or step + 1 == self.num_steps)


def schedule(plan: Plan, step: int) -> float:
    """Share of the peak rate, in [0, 1]: a linear warm-up, then a cosine to `final_fraction`.

    Args:
        plan: its lengths.
        step: counted from 0.
    """
    if step < plan.num_warmup_steps:
        return (step + 1) / plan.num_warmup_steps
    span = max(plan.num_steps - plan.num_warmup_steps, 1)
    cosine = (1 + math.cos(math.pi * (step - plan.num_warmup_steps) / span)) / 2
    return plan.final_fraction + (1 - plan.final_fraction) * cosine
