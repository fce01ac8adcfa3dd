"""RGB bytes -> the square input of a CLIP or BLIP vision tower, as their authors prepare it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float, UInt8
from torch import Tensor

Prepare = Callable[[UInt8[Tensor, "3 h w"]], Float[Tensor, "3 S S"]]
"""RGB image -> a vision tower's input."""


@dataclass(frozen=True)
class ChannelScale:
    """Channel-wise standardisation of values in [0, 1] to zero mean and unit variance.

    Attributes:
        mean, std: of red, green and blue over the images a tower was trained on.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    def __call__(self, image: UInt8[Tensor, "3 h w"]) -> Float[Tensor, "3 h w"]:
        """(image / 255 - mean) / std, channel by channel."""
        mean, std = torch.tensor(self.mean), torch.tensor(self.std)
        return (image / 255 - mean[:, None, None]) / std[:, None, None]


# Radford et al., 2021: published with CLIP's code; OpenCLIP's and BLIP's towers use them too.
CLIP_SCALE = ChannelScale((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))


def crop_middle(image: UInt8[Tensor, "3 h w"], side_px: int) -> UInt8[Tensor, "3 S S"]:
    """Resize the shorter side to `side_px`, keeping the aspect ratio, and crop the middle square.

    As CLIP and ImageReward do.

    Args:
        image: RGB.
        side_px: S, at least 1.
    """
    height, width = image.shape[1:]
    short = min(height, width)
    size = (side_px * height // short, side_px * width // short)
    resized = _bicubic(image, size)
    top, left = (round((side - side_px) / 2) for side in size)
    return resized[:, top : top + side_px, left : left + side_px]


def pad_to_square(image: UInt8[Tensor, "3 h w"], side_px: int) -> UInt8[Tensor, "3 S S"]:
    """Resize the longer side to `side_px`, keeping the aspect ratio, and pad with black.

    As HPSv2 does: nothing of the image is lost.

    Args:
        image: RGB.
        side_px: S, at least 1.
    """
    scale = side_px / max(image.shape[1:])
    height, width = (max(1, round(side * scale)) for side in image.shape[1:])
    above, before = (side_px - height) // 2, (side_px - width) // 2
    around = (before, side_px - width - before, above, side_px - height - above)
    return F.pad(_bicubic(image, (height, width)), around)


def stack(images: Sequence[UInt8[Tensor, "3 _ _"]], prepare: Prepare) -> Float[Tensor, "N 3 S S"]:
    """Prepare images one by one and put them into one batch."""
    return torch.stack([prepare(image) for image in images])


def _bicubic(image: Tensor, size: tuple[int, int]) -> Tensor:
    """On bytes, so that values are rounded and clipped to 0 to 255 where the originals do it."""
    if size == tuple(image.shape[1:]):
        return image
    resized = F.interpolate(
        image[None], size=size, mode="bicubic", align_corners=False, antialias=True
    )
    return resized[0]
