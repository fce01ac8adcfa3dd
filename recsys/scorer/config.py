"""What of a scorer is neither weights nor words, as scorer.json has it."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

_KEYS = {"max_packed_candidates": "max_packed_targets"}
"""Attributes that scorer.json calls otherwise: the model version covers its keys."""


@dataclass(frozen=True)
class ScorerConfig:
    """What of a scorer is neither weights nor words.

    Attributes:
        num_references: references the model is trained with; more are not read.
        num_preference_tokens: K, 0 or more (0: the paper's ablation without P_v).
        max_packed_candidates: candidates in one pass at inference; more go in several passes, for
            the cost of the block mask grows with the square of their number.
        temperature: by which M+ - M- is divided, above 0, so that Q is calibrated (Guo et al.,
            2017); fitted on validation users. 1 is Eq. 2 as printed. It changes no order.
    """

    num_references: int = 8
    num_preference_tokens: int = 10
    max_packed_candidates: int = 16
    temperature: float = 1.0

    def __post_init__(self) -> None:
        if not 0 < self.temperature < float("inf"):
            raise ValueError(f"temperature must be above 0 and finite, got {self.temperature}")

    def to_json(self) -> dict[str, Any]:
        """Plain values for scorer.json, by the names that its format has."""
        return {_KEYS.get(name, name): value for name, value in asdict(self).items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ScorerConfig":
        """The config that `to_json` gave.

        Raises:
            TypeError: if a key is unknown.
            ValueError: if a value is out of its range.
        """
        names = {key: name for name, key in _KEYS.items()}
        return cls(**{names.get(key, key): value for key, value in values.items()})
