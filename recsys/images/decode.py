"""Encoded bytes -> checked RGB.

Untrusted bytes are judged by their header before a decoder sees them. This is the only module of
the package that imports Pillow, but for those that draw pictures for people.
"""

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import UInt8
from PIL import ExifTags, Image
from torch import Tensor

from recsys.errors import ImageRefused
from recsys.images.header import JPEG, PNG, WEBP, ImageHeader, read_header
from recsys.reasons import Reason
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


def inspect(data: bytes, limits: ImageLimits = DEFAULT_LIMITS) -> ImageFacts:
    """Check encoded bytes and return their facts, without decoding a pixel.

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


def _admit(data: bytes, limits: ImageLimits) -> ImageHeader:
    if len(data) > limits.max_bytes:
        raise ImageRefused(
            f"image must have at most {limits.max_bytes:,} bytes, got {len(data):,}:"
            " send a smaller file",
            reason=Reason.IMAGE_TOO_LARGE,
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
            " send a smaller one",
            reason=Reason.IMAGE_TOO_LARGE,
        )


@contextmanager
def _opened(data: bytes, header: ImageHeader, limits: ImageLimits) -> Iterator[Image.Image]:
    """Open with Pillow; whatever goes wrong with the bytes until it is closed is a refusal."""
    name = _PILLOW_FORMATS[header.media_type]
    try:
        with Image.open(io.BytesIO(data), formats=(name,)) as image:
            _check_pixels(*image.size, limits)  # should Pillow read another size than we did
            if getattr(image, "is_animated", False) and header.media_type != JPEG:
                raise ImageRefused(
                    "image must be a still, got an animation: send one frame of it",
                    reason=Reason.IMAGE_ANIMATED,
                )
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
