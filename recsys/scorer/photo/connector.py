"""From what the tower makes of an image to the tokens that the decoder reads.

A token is a projection of one or several inputs: what is in a picture is best told by the classes
that it might be of, how it was made by pooled features and by statistics of the earlier layers.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from recsys.scorer.photo.tower import TowerFeatures, TowerShape

INPUTS = ("logits", "probabilities", "pooled", "statistics")


@dataclass(frozen=True)
class ConnectorShape:
    """What each image token is made of.

    Attributes:
        tokens: of each of T tokens, its inputs: "logits" of the classes, "probabilities" (the
            square roots of them), "pooled" features, "statistics" of layers.
        stages: of the tower, counted from 0, whose statistics are an input.
        hidden_size: of a layer of GELU between inputs and token; None: a token is linear in them.
    """

    tokens: tuple[tuple[str, ...], ...] = (("probabilities",), ("pooled",), ("statistics",))
    stages: tuple[int, ...] = (0, 1, 2, 3, 4)
    hidden_size: int | None = None

    def __post_init__(self) -> None:
        unknown = {name for token in self.tokens for name in token} - set(INPUTS)
        if unknown or not self.tokens or not all(self.tokens):
            raise ValueError(
                f"each image token must have inputs among {', '.join(INPUTS)}, got {self.tokens}"
            )

    def to_json(self) -> dict[str, Any]:
        """Plain values for a config.json."""
        return {
            **asdict(self),
            "tokens": [list(token) for token in self.tokens],
            "stages": list(self.stages),
        }

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "ConnectorShape":
        """The shape that `to_json` gave; TypeError, KeyError or ValueError for other values."""
        tokens = tuple(tuple(token) for token in values["tokens"])
        return cls(**{**values, "tokens": tokens, "stages": tuple(values["stages"])})


class Connector(nn.Module):
    """Standardises the inputs, by an average and a spread that it keeps, and projects them.

    Args:
        shape: what each token is made of.
        tower: whose features are the inputs.
        width: D of a token.
    """

    def __init__(self, shape: ConnectorShape, tower: TowerShape, width: int) -> None:
        super().__init__()
        self.shape = shape
        widths = _widths(shape, tower)
        self.scales = nn.ModuleDict({name: Standardised(each) for name, each in widths.items()})
        self.projections = nn.ModuleList(
            TokenProjection(sum(widths[name] for name in token), shape.hidden_size, width)
            for token in shape.tokens
        )

    def inputs(self, features: TowerFeatures) -> dict[str, Float[Tensor, "N _"]]:
        """The inputs that tokens have, by name, as they are before they are standardised."""
        return {name: self._input(name, features) for name in self.scales}

    def _input(self, name: str, features: TowerFeatures) -> Tensor:
        if name == "logits":
            return features.logits
        if name == "probabilities":  # exp(log p / 2): it has a slope where p is rounded to 0, too
            roots = (features.logits.float().log_softmax(dim=-1) / 2).exp()
            return roots.to(features.logits.dtype)
        if name == "pooled":
            return features.pooled
        return torch.cat([features.statistics[stage] for stage in self.shape.stages], dim=1)

    def forward(self, features: TowerFeatures) -> Float[Tensor, "N T D"]:
        """Image tokens; differentiable."""
        inputs = self.inputs(features)
        standard = {name: scale(inputs[name]) for name, scale in self.scales.items()}
        tokens = [
            projection(torch.cat([standard[name] for name in token], dim=1))
            for projection, token in zip(self.projections, self.shape.tokens, strict=True)
        ]
        return torch.stack(tokens, dim=1)

    @torch.no_grad()
    def standardise(self, features: TowerFeatures) -> None:
        """Take average and spread of each input from pictures: what they have is 0 and 1 from here.

        Args:
            features: of the pictures, at least two.
        """
        inputs = self.inputs(features)
        for name, scale in self.scales.items():
            cast(Standardised, scale).take(inputs[name])


class Standardised(nn.Module):
    """(x - average) / spread; before anything is taken, x.

    Args:
        width: of x.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(width))
        self.register_buffer("spread", torch.ones(width))

    def forward(self, x: Float[Tensor, "N width"]) -> Float[Tensor, "N width"]:
        """Standardise each feature."""
        return (x - cast(Tensor, self.average)) / cast(Tensor, self.spread)

    def take(self, x: Float[Tensor, "N width"]) -> None:
        """Take average and spread from N pictures; a feature that is the same in all keeps 1."""
        spread, average = torch.std_mean(x.float(), dim=0)
        cast(Tensor, self.average).copy_(average)
        cast(Tensor, self.spread).copy_(torch.where(spread > 0, spread, torch.ones_like(spread)))


class TokenProjection(nn.Module):
    """Inputs to one token: a matrix, or two with GELU between them.

    Args:
        inputs: their width.
        hidden_size: between the matrices; None: there is one.
        width: D of the token.
    """

    def __init__(self, inputs: int, hidden_size: int | None, width: int) -> None:
        super().__init__()
        self.up_proj = None if hidden_size is None else nn.Linear(inputs, hidden_size)
        self.down_proj = nn.Linear(hidden_size or inputs, width)

    def forward(self, x: Float[Tensor, "N inputs"]) -> Float[Tensor, "N D"]:
        """Project."""
        if self.up_proj is not None:
            x = nn.functional.gelu(self.up_proj(x))
        return cast(Tensor, self.down_proj(x))


def _widths(shape: ConnectorShape, tower: TowerShape) -> dict[str, int]:
    """Of those inputs that a token has."""
    widths = {
        "logits": tower.classes,
        "probabilities": tower.classes,
        "pooled": tower.head,
        "statistics": sum(2 * tower.stages[stage].channels for stage in shape.stages),
    }
    used = {name for token in shape.tokens for name in token}
    return {name: width for name, width in widths.items() if name in used}
