"""Embeddings of prompts by a frozen tower: computed on first use, then cached."""

from collections.abc import Callable, Sequence

import torch
from cachetools import LRUCache
from jaxtyping import Float
from torch import Tensor

MOST_PROMPTS = 4096
ENCODE_AT_ONCE = 16
"""Images in one pass of a baseline's tower."""


class PromptEmbeddings:
    """Embeddings by prompt.

    Args:
        encode: one prompt -> its embedding (E,).
        most_prompts: the least recently used are dropped beyond this.
    """

    def __init__(
        self, encode: Callable[[str], Tensor], *, most_prompts: int = MOST_PROMPTS
    ) -> None:
        self._encode = encode
        self._kept: LRUCache[str, Tensor] = LRUCache(most_prompts)

    @torch.no_grad()
    def __call__(self, prompts: Sequence[str]) -> Float[Tensor, "N E"]:
        """Embeddings in the order of `prompts`, at least one; a prompt may come more than once."""
        embeddings = {}
        for prompt in dict.fromkeys(prompts):
            embedding = self._kept.get(prompt)
            if embedding is None:
                embedding = self._kept[prompt] = self._encode(prompt)
            embeddings[prompt] = embedding
        return torch.stack([embeddings[prompt] for prompt in prompts])
