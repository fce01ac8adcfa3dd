"""Keys and values of a prefix, and the two caches that fill and use them.

A cache here is whatever has the one method by which the library's decoder layers call theirs.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class KeyValues:
    """Keys and values of a prefix, layer by layer; read-only once made.

    Attributes:
        layers: for each decoder layer (keys, values), each (B, G, L, d): G key-value heads of
            width d over L prefix positions.
    """

    layers: tuple[tuple[Tensor, Tensor], ...]

    @property
    def num_bytes(self) -> int:
        """Memory of all keys and values, bytes."""
        return sum(k.nbytes + v.nbytes for k, v in self.layers)


class Recording:
    """A cache that keeps what each layer hands it."""

    def __init__(self) -> None:
        self.layers: list[tuple[Tensor, Tensor]] = []

    def update(self, key: Tensor, value: Tensor, layer: int, **_: Any) -> tuple[Tensor, Tensor]:
        """Take a layer's keys and values and hand them back."""
        assert layer == len(self.layers)
        self.layers.append((key, value))
        return key, value


class Behind:
    """A cache that puts a stored prefix before each layer's keys and never grows.

    The library's own cache would keep the candidates' keys too; a prefix shared by many calls
    must stay as it is.
    """

    def __init__(self, prefix: KeyValues) -> None:
        self.prefix = prefix

    def update(self, key: Tensor, value: Tensor, layer: int, **_: Any) -> tuple[Tensor, Tensor]:
        """The prefix's keys and values with a layer's own behind them."""
        keys, values = self.prefix.layers[layer]
        return torch.cat([keys, key], dim=2), torch.cat([values, value], dim=2)
