"""How preference tokens are trained when a checkpoint is adapted."""

from dataclasses import dataclass

from training.fitting.adapting.privacy import Privacy
from training.fitting.plan import Plan

_VALIDATIONS = 10


@dataclass(frozen=True)
class Tuning:
    """How preference tokens are trained.

    Attributes:
        num_steps: optimizer steps, at least 1.
        learning_rate: at its peak, above 0.
        seed: of all draws; who is learned from and who judges does not depend on it.
        privacy: the differential privacy of those who are learned from; None: none.
    """

    num_steps: int = 200
    learning_rate: float = 3e-2
    seed: int = 0
    privacy: Privacy | None = None

    def __post_init__(self) -> None:
        if self.num_steps < 1:
            raise ValueError(f"an adaptation needs at least 1 step, got {self.num_steps}")

    @property
    def plan(self) -> Plan:
        """The plan of the run: the best weights are sought about ten times, privately never."""
        is_private = self.privacy is not None
        return Plan(
            "adapt",
            num_steps=self.num_steps,
            learning_rate=self.learning_rate,
            num_warmup_steps=min(10, self.num_steps // 5),
            weight_decay=0.0,
            seed=self.seed,
            validate_every=0 if is_private else max(self.num_steps // _VALIDATIONS, 1),
            save_every_s=20.0,
        )
