"""Pictures in every encoding that is accepted, and the pieces to make odd ones from."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image


def _draw(width: int = 24, height: int = 16) -> Image.Image:
    """Smooth, unlike its mirror images, and of every brightness."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([x, y, (x + y * y) / 2], axis=-1) * 255
    return Image.fromarray(pixels.astype(np.uint8))


def _encode(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def _exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


def _chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def _png_header(width: int, height: int, bits: int = 8) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, bits, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header)


@pytest.fixture(scope="session")
def draw() -> Callable[..., Image.Image]:
    """Draw a picture of a width and a height."""
    return _draw


@pytest.fixture(scope="session")
def encode() -> Callable[..., bytes]:
    """Encode an image, PNG unless told otherwise."""
    return _encode


@pytest.fixture(scope="session")
def exif() -> Callable[[int], Image.Exif]:
    """Make EXIF data with an orientation."""
    return _exif


@pytest.fixture(scope="session")
def chunk() -> Callable[[bytes, bytes], bytes]:
    """Make a PNG chunk with a right checksum."""
    return _chunk


@pytest.fixture(scope="session")
def png_header() -> Callable[..., bytes]:
    """Make the start of a PNG that claims a size."""
    return _png_header


@pytest.fixture(scope="session")
def valid() -> dict[str, bytes]:
    """One picture of 24 x 16 pixels, encoded in many ways."""
    picture = _draw()
    return {
        "png": _encode(picture),
        "jpeg": _encode(picture, "JPEG"),
        "progressive": _encode(picture, "JPEG", progressive=True, exif=_exif(6)),
        "webp": _encode(picture, "WEBP"),
        "lossless": _encode(picture, "WEBP", lossless=True),
        "extended": _encode(picture.convert("RGBA"), "WEBP", exif=_exif(3)),
        "palette": _encode(picture.quantize(8), transparency=0),
        "cmyk": _encode(picture.convert("CMYK"), "JPEG"),
    }
