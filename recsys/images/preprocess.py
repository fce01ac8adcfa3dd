"""RGB -> the model's size, alone or in a batch; differentiable where pixels are.

Images are bytes until they are where the model runs: a quarter of the memory and of the way there.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from torch import Tensor

ImagePixels = UInt8[Tensor, "3 _ _"] | Float[Tensor, "3 _ _"]
"""RGB of any size: bytes, or floating point in [0, 1]."""

MID_GREY = 0.5
_ROUNDING = 1e-3
"""How far rounding may carry a pixel out of [0, 1]: a quarter of a grey level."""


@dataclass(frozen=True, slots=True)
class ImageGeometry:
    """To which size an image is brought.

    Attributes:
        shortest_px: no side gets shorter than this, even at the cost of the aspect; at least 1.
        longest_px: the longer side is cut to this; at least `shortest_px`.
        square_px: if given, every image becomes this many pixels wide and high, whatever its
            aspect, and the two others do not count. The tiny base has 64.
    """

    shortest_px: int = 378
    longest_px: int = 980
    square_px: int | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.shortest_px <= self.longest_px:
            raise ValueError(f"1 <= shortest_px <= longest_px must hold, got {self}")
        if self.square_px is not None and self.square_px < 1:
            raise ValueError(f"square_px must be at least 1, got {self.square_px}")

    def size(self, height: int, width: int) -> tuple[int, int]:
        """Return the (height, width) an image of this size is brought to.

        The longer side is cut to `longest_px` with the aspect kept (rounded down), then each side
        is raised to `shortest_px` by itself. This is Idefics2's rule.
        """
        if self.square_px is not None:
            return self.square_px, self.square_px
        aspect = width / height
        if width >= height and width > self.longest_px:
            width = self.longest_px
            height = int(width / aspect)
        elif height > width and height > self.longest_px:
            height = self.longest_px
            width = int(height * aspect)
        return max(height, self.shortest_px), max(width, self.shortest_px)


def to_unit_range(image: ImagePixels) -> Float[Tensor, "3 _ _"]:
    """RGB in [0, 1]: bytes divided by 255 in float32, floating point as it is."""
    return image.float() / 255 if image.dtype == torch.uint8 else image


def shrunk(image: UInt8[Tensor, "3 h w"], geometry: ImageGeometry) -> ImagePixels:
    """The form in which a decoded image waits: at most what it takes in the model's size, float32.

    Args:
        image: RGB bytes.
        geometry: the model's.

    Returns:
        The image itself, or, if it is too large, RGB in [0, 1] of the model's size.
    """
    height, width = geometry.size(*image.shape[-2:])
    if image.nbytes <= 3 * height * width * torch.float32.itemsize:
        return image
    return resize(to_unit_range(image), geometry)


def resize(image: Float[Tensor, "3 h w"], geometry: ImageGeometry) -> Float[Tensor, "3 H W"]:
    """Resize with bilinear antialiasing, where the size is not right already; differentiable.

    Args:
        image: RGB in [0, 1].
        geometry: decides H and W.
    """
    size = geometry.size(image.shape[-2], image.shape[-1])
    if size == tuple(image.shape[-2:]):
        return image
    return F.interpolate(
        image[None], size=size, mode="bilinear", align_corners=False, antialias=True
    )[0]


def require_unit_range(images: Sequence[ImagePixels]) -> None:
    """Refuse images whose pixels cannot be RGB in [0, 1]; one pass over each that is not bytes.

    Args:
        images: of any size; bytes stand for themselves divided by 255, and rounding may carry
            another pixel 0.001 out of the range.

    Raises:
        ValueError: if a pixel is outside [0, 1] or NaN, or there are not three channels.
    """
    for number, image in enumerate(images):
        if image.ndim != 3 or image.shape[0] != 3 or not image.numel():
            raise ValueError(
                f"images must have the shape (3, height, width), got {tuple(image.shape)} in image"
                f" {number}"
            )
        if image.dtype == torch.uint8:
            continue
        low, high = (bound.item() for bound in torch.aminmax(image.detach()))  # NaN spreads to both
        if math.isnan(low):
            raise ValueError(
                f"pixels must be RGB in [0, 1], got NaN in image {number}: look at what made it"
            )
        if not (low >= -_ROUNDING and high <= 1 + _ROUNDING):
            raise ValueError(
                f"pixels must be RGB in [0, 1], got {low:g} to {high:g} in image {number}: divide"
                " bytes by 255, clamp what was generated"
            )


def pad_batch(
    images: Sequence[Float[Tensor, "3 _ _"]],
) -> tuple[Float[Tensor, "N 3 H W"], Bool[Tensor, "N H W"]]:
    """Stack images of different size, each at the top left, padded with mid grey.

    Args:
        images: RGB in [0, 1].

    Returns:
        The images, and a mask that is True where there is image.

    Raises:
        ValueError: if there are no images.
    """
    if not images:
        raise ValueError("a batch must have at least 1 image, got none")
    height = max(image.shape[-2] for image in images)
    width = max(image.shape[-1] for image in images)
    mask = torch.zeros(len(images), height, width, dtype=torch.bool, device=images[0].device)
    padded = []
    for row, image in zip(mask, images, strict=True):
        h, w = image.shape[-2:]
        row[:h, :w] = True
        padded.append(F.pad(image, (0, width - w, 0, height - h), value=MID_GREY))
    return torch.stack(padded), mask


def squares(
    images: Float[Tensor, "N 3 H W"], mask: Bool[Tensor, "N H W"] | None, side_px: int
) -> Float[Tensor, "N 3 side side"]:
    """Bring padded images to one square, without their padding; differentiable.

    Args:
        images: RGB in [0, 1], each at the top left.
        mask: True where there is image; None: everywhere.
        side_px: of the square; an image of this size stays as it is.
    """
    sizes = [list(images.shape[-2:])] * len(images)
    if mask is not None:
        sizes = torch.stack([mask[:, :, 0].sum(dim=1), mask[:, 0].sum(dim=1)], dim=1).tolist()
    geometry = ImageGeometry(square_px=side_px)
    cut = (image[:, :height, :width] for image, (height, width) in zip(images, sizes, strict=True))
    return torch.stack([resize(image, geometry) for image in cut])
