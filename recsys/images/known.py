"""An image on its way to the model: pixels, or the tokens that were made of it before."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from recsys.images.preprocess import ImagePixels


def _keep_nothing(_: Tensor) -> None:
    """What becomes of tokens that are kept already."""


@dataclass(frozen=True, eq=False)
class KnownImage:
    """An image whose tokens are kept: exactly one of pixels and tokens is there.

    Attributes:
        pixels: to be encoded; None: they need not be.
        tokens: shape (T, D), of the model that asks; None: not known yet.
        keep: called with the tokens once the pixels are encoded.
    """

    pixels: ImagePixels | None = None
    tokens: Float[Tensor, "T D"] | None = None
    keep: Callable[[Tensor], None] = _keep_nothing

    def __post_init__(self) -> None:
        assert (self.pixels is None) != (self.tokens is None)


ModelImage = ImagePixels | KnownImage
"""An image as the scorer takes it."""
