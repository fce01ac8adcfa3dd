"""Images of a training as a frozen scorer takes them: tokens that are kept, else pixels."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial

import torch

from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.known import KnownImage, ModelImage
from recsys.images.preprocess import ImagePixels
from recsys.scorer.model import PreferenceScorer


class KnownImages:
    """Joins what was decoded of some images with the tokens that are kept of others.

    Args:
        tokens: of the scorer; None: nothing is kept.
    """

    def __init__(self, tokens: ImageTokenCache | None) -> None:
        self.tokens = tokens
        self._since = 0 if tokens is None else tokens.num_forgotten

    def kept(self, sha256s: Sequence[str]) -> dict[str, ModelImage]:
        """Those of some images whose tokens are kept."""
        if self.tokens is None:
            return {}
        found = ((sha256, self.tokens.get(sha256)) for sha256 in sha256s)
        return {sha256: KnownImage(tokens=each) for sha256, each in found if each is not None}

    def to_keep(self, decoded: Mapping[str, ImagePixels]) -> dict[str, ModelImage]:
        """Decoded images, by SHA-256, whose tokens are kept once they are made."""
        if self.tokens is None:
            return dict(decoded)
        put = partial(self.tokens.put, since=self._since)
        return {
            sha256: KnownImage(pixels, keep=partial(put, sha256))
            for sha256, pixels in decoded.items()
        }


@contextmanager
def encoding_frozen(scorer: PreferenceScorer) -> Iterator[None]:
    """A context in which image tokens are made as they are served: no dropout, no gradients."""
    modules = [(module, module.training) for module in scorer.backbone.image_modules]
    for module, _ in modules:
        module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, was_training in modules:
            module.train(was_training)
