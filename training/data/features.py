"""Image tokens by row of an image table: encoded when first asked for, kept while there is room."""

from collections.abc import Callable, Sequence

import torch
from cachetools import LRUCache
from jaxtyping import Float, UInt8
from torch import Tensor

from recsys.images.decode import ImageLimits, decode
from recsys.scorer.model import PreferenceScorer
from storage.histories import HistoryStore

ReadImage = Callable[[int], UInt8[Tensor, "3 h w"]]
"""Row of the image table -> RGB image."""

Features = Callable[[Sequence[int]], Float[Tensor, "N T D"]]
"""Rows of the image table -> image tokens, in their order."""

MOST_BYTES = 1 << 30
ENCODE_AT_ONCE = 64


def stored_images(store: HistoryStore, images: Sequence[str], *, limits: ImageLimits) -> ReadImage:
    """A reader of images within limits, by their row in `images`, SHA-256 each."""
    return lambda row: decode(store.image(images[row]), limits)


class ImageFeatures:
    """What a scorer's frozen vision tower makes of images.

    Args:
        scorer: encodes.
        read: row -> RGB image.
        most_bytes: the least recently asked for are forgotten beyond this.
    """

    def __init__(
        self, scorer: PreferenceScorer, read: ReadImage, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._scorer = scorer
        self._read = read
        self._kept: LRUCache[int, Tensor] = LRUCache(most_bytes, getsizeof=_num_bytes)

    @torch.no_grad()
    def __call__(self, rows: Sequence[int]) -> Float[Tensor, "N T D"]:
        """Image tokens in the order of `rows`; a row may come more than once."""
        tokens = {row: self._kept[row] for row in set(rows) if row in self._kept}
        missing = sorted(set(rows) - set(tokens))
        for start in range(0, len(missing), ENCODE_AT_ONCE):
            chunk = missing[start : start + ENCODE_AT_ONCE]
            images = [self._read(row) for row in chunk]
            tokens |= zip(chunk, self._scorer.image_features(images).unbind(), strict=True)
        for row in missing:
            if _num_bytes(tokens[row]) <= self._kept.maxsize:
                self._kept[row] = tokens[row]
        if not rows:
            return self._scorer.image_features([])
        return torch.stack([tokens[row] for row in rows])


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
