"""Encoded bytes -> checked RGB -> the model's input.

Untrusted bytes are judged by their header before a decoder sees them; after `decode` all is torch,
and differentiable from the [0, 1] tensor on. This is the only module of the package that imports
Pillow.
"""

import hashlib
import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, UInt8
from PIL import ExifTags, Image
from torch import Tensor

from recsys.errors import ImageRefused
from recsys.image_header import JPEG, PNG, WEBP, ImageHeader, read_header
from storage.records import ImageFacts

_PILLOW_FORMATS = {PNG: "PNG", JPEG: "JPEG", WEBP: "WEBP"}

# EXIF 2.3, tag 0x0112: how the stored pixels are to be turned for display.
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_TURNS_ON_THE_SIDE = frozenset({5, 6, 7, 8})

MEAN = 0.5
STD = 0.5


@dataclass(frozen=True, slots=True)
class ImageLimits:
    """What an encoded image may claim before it is decoded.

    Attributes:
        max_bytes: length of the encoded bytes, at least 1.
        max_pixels: width times height, at least 1; RGB takes three bytes for each.
    """

    max_bytes: int = 10 * 2**20
    max_pixels: int = 25_000_000

    def __post_init__(self) -> None:
        if self.max_bytes < 1 or self.max_pixels < 1:
            raise ValueError(f"image limits must be at least 1, got {self}")


DEFAULT_LIMITS = ImageLimits()


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


def inspect(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> ImageFacts:
    """Check encoded bytes and tell their facts, without decoding a pixel.

    Whatever `decode` accepts is accepted here, with the size that `decode` returns. Damage inside
    the pixel data shows only when it is decoded; a missing end shows here.

    Raises:
        ImageRefused: if the bytes are no single PNG, JPEG or WebP image within `limits`.
    """
    header = _admit(data, limits)
    with _opened(data, header, limits) as image:
        width, height = image.size
        if _orientation(image) in _TURNS_ON_THE_SIDE:
            width, height = height, width
    sha256 = hashlib.sha256(data).hexdigest()
    return ImageFacts(sha256, header.media_type, width, height, len(data))


def decode(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> UInt8[Tensor, "3 H W"]:
    """Decode untrusted bytes to RGB, turned as EXIF asks, transparency laid on white.

    Greyscale, palette, CMYK and 16 bits a channel become RGB of 8 bits. Colour profiles are not
    applied. An animation is refused: which of its frames was liked cannot be known. Of a JPEG with
    several pictures in it (as phones write them), the first is the image.

    Raises:
        ImageRefused: if the bytes are no single PNG, JPEG or WebP image within `limits`, or
            are damaged.
    """
    header = _admit(data, limits)
    with _opened(data, header, limits) as image:
        turn = _TURNS.get(_orientation(image))
        image.load()
        rgb = _to_rgb(image)
        if turn is not None:
            rgb = rgb.transpose(turn)
        pixels = np.array(rgb)  # (H, W, 3)
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def admit(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> ImageFacts:
    """Check bytes whole before they are stored: what cannot be decoded now never could be later.

    Raises:
        ImageRefused: as `inspect` and `decode`.
    """
    facts = inspect(data, limits)
    decode(data, limits)
    return facts


def to_model_input(
    image: Float[Tensor, "3 h w"], geometry: ImageGeometry
) -> Float[Tensor, "3 H W"]:
    """Resize with bilinear antialiasing and normalise to [-1, 1]; differentiable.

    Args:
        image: RGB in [0, 1].
        geometry: decides H and W.
    """
    size = geometry.size(image.shape[-2], image.shape[-1])
    if size != tuple(image.shape[-2:]):
        image = F.interpolate(
            image[None], size=size, mode="bilinear", align_corners=False, antialias=True
        )[0]
    return (image - MEAN) / STD


def pad_batch(
    images: Sequence[Float[Tensor, "3 _ _"]],
) -> tuple[Float[Tensor, "N 3 H W"], Bool[Tensor, "N H W"]]:
    """Stack images of different size, each at the top left, padded with zeros (mid grey).

    Args:
        images: as `to_model_input` returns them.

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
        padded.append(F.pad(image, (0, width - w, 0, height - h)))
    return torch.stack(padded), mask


def _admit(data: bytes, limits: ImageLimits) -> ImageHeader:
    if len(data) > limits.max_bytes:
        raise ImageRefused(
            f"image must have at most {limits.max_bytes:,} bytes, got {len(data):,}:"
            " send a smaller file"
        )
    header = read_header(data)
    _check_pixels(header.width, header.height, limits)
    if not header.is_whole:
        raise ImageRefused("image must be whole, got a truncated file: send it again")
    return header


def _check_pixels(width: int, height: int, limits: ImageLimits) -> None:
    if width * height > limits.max_pixels:
        raise ImageRefused(
            f"image must have at most {limits.max_pixels:,} pixels, got {width:,} × {height:,}:"
            " send a smaller one"
        )


@contextmanager
def _opened(data: bytes, header: ImageHeader, limits: ImageLimits) -> Iterator[Image.Image]:
    """Open with Pillow; whatever goes wrong with the bytes until it is closed is a refusal."""
    name = _PILLOW_FORMATS[header.media_type]
    try:
        with Image.open(io.BytesIO(data), formats=(name,)) as image:
            _check_pixels(*image.size, limits)  # should Pillow read another size than we did
            if getattr(image, "is_animated", False) and header.media_type != JPEG:
                raise ImageRefused("image must be a still, got an animation: send one frame of it")
            yield image
    except (ImageRefused, MemoryError):  # a machine without memory is not the image's fault
        raise
    except Exception as error:  # SyntaxError, struct.error, OSError, zlib.error, warnings...
        raise ImageRefused(
            f"image must be a readable {name} file, got damaged data: send it again"
        ) from error


def _orientation(image: Image.Image) -> int:
    try:
        # Not image.getexif(): for PNG that decodes the pixels, to look behind them.
        value = Image.Image.getexif(image).get(ExifTags.Base.Orientation, 1)
    except Exception:  # what EXIF is damaged says nothing of the pixels: they stand as stored
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return Image.fromarray(_grey_of_16_bits(image)).convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image.convert("RGBA")).convert("RGB")


def _grey_of_16_bits(image: Image.Image) -> npt.NDArray[np.uint8]:
    """Scale 0..65535 to 0..255, which Pillow's own conversion does not do for every mode."""
    grey = np.asarray(image).astype(np.int64).clip(0, 65535)
    scaled = ((grey + 128) // 257).astype(np.uint8)
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        scaled[grey == transparent] = 255  # on white
    return scaled
