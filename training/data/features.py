"""Image tokens by row of an image table: encoded when first asked for, kept while there is room."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

import torch
from cachetools import LRUCache
from jaxtyping import Float, UInt8
from torch import Tensor

from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import ImageLimits, decode
from recsys.images.known import ModelImage
from recsys.images.reader import ImageReader
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.token_version import token_version
from storage.histories import HistoryStore

ImageT = TypeVar("ImageT")

ReadImage = Callable[[int], UInt8[Tensor, "3 h w"]]
"""Row of the image table -> RGB image."""

Features = Callable[[Sequence[int]], Float[Tensor, "N T D"]]
"""Rows of the image table -> image tokens, in their order."""

ReadModelImage = Callable[[int], ModelImage]
"""Row of the image table -> image as a scorer takes it."""

OpenTokens = Callable[[PreferenceScorer], ImageTokenCache]
"""Opens where a scorer's image tokens are kept, in memory and on disk."""

OpenFeatures = Callable[[PreferenceScorer], Features]
"""Image tokens of the image table, as a scorer makes them."""

MOST_BYTES = 1 << 30
ENCODE_AT_ONCE = 64
MOST_READERS = 8


def stored_images(store: HistoryStore, images: Sequence[str], *, limits: ImageLimits) -> ReadImage:
    """A reader of images within limits, by their row in `images`, SHA-256 each."""
    return lambda row: decode(store.image(images[row]), limits)


def known_images(
    store: HistoryStore, images: Sequence[str], *, limits: ImageLimits, tokens: ImageTokenCache
) -> ReadModelImage:
    """The same for one scorer, whose image tokens are taken from where they are kept.

    Args:
        store: where the images are.
        images: SHA-256 of each row.
        limits: of each image, bytes and pixels.
        tokens: of the scorer.
    """
    reader = ImageReader(store, limits, tokens=tokens)
    return lambda row: reader.read(images[row])


def features_of(
    store: HistoryStore,
    images: Sequence[str],
    *,
    limits: ImageLimits,
    tokens: OpenTokens | None = None,
) -> OpenFeatures:
    """Image tokens of stored images for any scorer; who makes the same ones shares what is kept.

    Args:
        store: where the images are.
        images: SHA-256 of each row.
        limits: of each image, bytes and pixels.
        tokens: opens where those of a scorer are kept; None: each scorer makes its own.
    """
    if tokens is None:
        read = stored_images(store, images, limits=limits)
        return lambda scorer: ImageFeatures(scorer, read)
    open_tokens = shared(tokens)

    def features(scorer: PreferenceScorer) -> ImageFeatures:
        kept = open_tokens(scorer)
        return ImageFeatures(scorer, known_images(store, images, limits=limits, tokens=kept))

    return features


def shared(open_tokens: OpenTokens) -> OpenTokens:
    """Open one place for all scorers that make the same image tokens (`token_version`).

    Args:
        open_tokens: called with the first scorer of each version.
    """
    opened: dict[str, ImageTokenCache] = {}

    def tokens_of(scorer: PreferenceScorer) -> ImageTokenCache:
        version = token_version(scorer)
        if version not in opened:
            opened[version] = open_tokens(scorer)
        return opened[version]

    return tokens_of


class ImageFeatures:
    """What a scorer's frozen vision tower makes of images.

    Args:
        scorer: encodes.
        read: row -> RGB image, or what is known of it; called from several threads.
        most_bytes: as of `ImageEmbeddings`.
    """

    def __init__(
        self, scorer: PreferenceScorer, read: ReadModelImage, *, most_bytes: int = MOST_BYTES
    ) -> None:
        self._embeddings = ImageEmbeddings(
            scorer.image_features, read, at_once=ENCODE_AT_ONCE, most_bytes=most_bytes
        )

    def __call__(self, rows: Sequence[int]) -> Float[Tensor, "N T D"]:
        """Image tokens in the order of `rows`; a row may come more than once."""
        return self._embeddings(rows)


class ImageEmbeddings(Generic[ImageT]):
    """What a frozen encoder makes of images, by row of an image table.

    Args:
        encode: images -> (N, ...); what it makes of one must not depend on the others.
        read: row -> image; called from several threads.
        at_once: images that are read and encoded together, at least 1.
        most_bytes: the least recently asked for are forgotten beyond this.
    """

    def __init__(
        self,
        encode: Callable[[list[ImageT]], Tensor],
        read: Callable[[int], ImageT],
        *,
        at_once: int,
        most_bytes: int = MOST_BYTES,
    ) -> None:
        self._encode = encode
        self._read = read
        self._at_once = at_once
        self._kept: LRUCache[int, Tensor] = LRUCache(most_bytes, getsizeof=_num_bytes)

    @torch.no_grad()
    def __call__(self, rows: Sequence[int]) -> Float[Tensor, "N ..."]:
        """Embeddings in the order of `rows`; a row may come more than once."""
        if not rows:
            return self._encode([])
        embeddings = {row: self._kept[row] for row in set(rows) if row in self._kept}
        missing = sorted(set(rows) - set(embeddings))
        for start in range(0, len(missing), self._at_once):
            chunk = missing[start : start + self._at_once]
            encoded = self._encode(self._read_all(chunk))
            # A view would keep the whole chunk alive behind the count of bytes.
            embeddings |= {row: one.clone() for row, one in zip(chunk, encoded, strict=True)}
        for row in missing:
            if _num_bytes(embeddings[row]) <= self._kept.maxsize:
                self._kept[row] = embeddings[row]
        return torch.stack([embeddings[row] for row in rows])

    def _read_all(self, rows: Sequence[int]) -> list[ImageT]:
        """Decoding an image of a megapixel takes longer than a GPU needs to encode it."""
        with ThreadPoolExecutor(min(len(rows), MOST_READERS)) as threads:
            return list(threads.map(self._read, rows))


def _num_bytes(tensor: Tensor) -> int:
    return tensor.numel() * tensor.element_size()
