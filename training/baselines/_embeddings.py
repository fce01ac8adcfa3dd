"""Embeddings of images and prompts by a frozen tower: computed on first use, then cached."""

from collections.abc import Callable, Sequence

import torch
from cachetools import LRUCache
from jaxtyping import Float, UInt8
from torch import Tensor

from training.data.features import ReadImage

MOST_BYTES = 1 << 30
MOST_PROMPTS = 4096
ENCODE_AT_ONCE = 16

EncodeImages = Callable[[list[UInt8[Tensor, "3 _ _"]]], Float[Tensor, "N ..."]]
"""Images -> one embedding each."""


class ImageEmbeddings:
    """Embeddings by row of an image table.

    Args:
        encode: the tower; an image's embedding must not depend on the others.
        read: row -> RGB image.
        most_bytes: the least recently used are dropped beyond this.
    """

    def __init__(
        self, encode: EncodeImages, read: ReadImage, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._encode = encode
        self._read = read
        self._kept: LRUCache[int, Tensor] = LRUCache(most_bytes, getsizeof=_num_bytes)

    @torch.no_grad()
    def __call__(self, rows: Sequence[int]) -> Float[Tensor, "N ..."]:
        """Embeddings in the order of `rows`, at least one; a row may come more than once."""
        embeddings = {row: self._kept[row] for row in set(rows) if row in self._kept}
        missing = sorted(set(rows) - set(embeddings))
        for start in range(0, len(missing), ENCODE_AT_ONCE):
            chunk = missing[start : start + ENCODE_AT_ONCE]
            encoded = self._encode([self._read(row) for row in chunk])
            # A view would keep the whole batch alive behind the count of bytes.
            embeddings |= {row: one.clone() for row, one in zip(chunk, encoded, strict=True)}
        for row in missing:
            if _num_bytes(embeddings[row]) <= self._kept.maxsize:
                self._kept[row] = embeddings[row]
        return torch.stack([embeddings[row] for row in rows])


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


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
