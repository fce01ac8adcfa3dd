"""Keys and values of a prefix, and the two caches that fill and use them.

A cache here is whatever has the one method by which the library's decoder layers call theirs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
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

    def row(self, index: int, length: int) -> "KeyValues":
        """Those of one of B prefixes: a view of its first `length` positions."""
        at = slice(index, index + 1)
        return KeyValues(tuple((k[at, :, :length], v[at, :, :length]) for k, v in self.layers))


def side_by_side(prefixes: Sequence[KeyValues]) -> KeyValues:
    """Several prefixes of one row each as rows of one, zeros behind the shorter ones."""
    if len(prefixes) == 1:
        return prefixes[0]
    length = max(each.layers[0][0].shape[2] for each in prefixes)

    def rows(tensors: Sequence[Tensor]) -> Tensor:
        return torch.cat([F.pad(each, (0, 0, 0, length - each.shape[2])) for each in tensors])

    layers = zip(*(each.layers for each in prefixes), strict=True)
    return KeyValues(
        tuple((rows([k for k, _ in each]), rows([v for _, v in each])) for each in layers)
    )


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
