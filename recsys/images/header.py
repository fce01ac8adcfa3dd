"""What the first bytes of an image claim: type and size, read without a decoder.

A decoder spends memory on what a header claims (libwebp its whole canvas, as soon as the file is
opened), so the claim is read and judged before any decoder sees the bytes.
"""

import struct
from dataclasses import dataclass

from recsys.errors import ImageRefused
from recsys.reasons import Reason

PNG, JPEG, WEBP = "image/png", "image/jpeg", "image/webp"

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_JPEG_END = b"\xff\xd9"
_JPEG_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_JPEG_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xD8)})
_MAX_JPEG_SEGMENTS = 1_000
"""Before the frame: colour profiles take up to 255; millions would only cost time."""


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """The claim of an encoded image about itself.

    Attributes:
        media_type: "image/png", "image/jpeg" or "image/webp".
        width: pixels, at least 1, before EXIF rotation.
        height: pixels, at least 1, before EXIF rotation.
        is_whole: whether the end that the format requires is there.
    """

    media_type: str
    width: int
    height: int
    is_whole: bool


def read_header(data: bytes) -> ImageHeader:
    """Read type and size from encoded bytes.

    Raises:
        ImageRefused: if the bytes are no PNG, JPEG or WebP, or the header is damaged.
    """
    if data.startswith(_PNG_SIGNATURE):
        read, name = _read_png, "PNG"
    elif data.startswith(b"\xff\xd8\xff"):
        read, name = _read_jpeg, "JPEG"
    elif data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        read, name = _read_webp, "WebP"
    else:
        raise ImageRefused(
            f"image must be a PNG, JPEG or WebP file, got {_what(data)}: {_remedy(data)}",
            reason=Reason.IMAGE_TYPE_UNSUPPORTED,
        )
    try:
        header = read(data)
    except (struct.error, IndexError, ValueError) as error:
        raise ImageRefused(
            f"image must be a whole {name} file, got a damaged header: send the file again"
        ) from error
    if header.width < 1 or header.height < 1:
        raise ImageRefused(
            f"image must have at least 1 × 1 pixels, got {header.width} × {header.height}"
        )
    return header


def _what(data: bytes) -> str:
    if not data:
        return "no bytes"
    start = data[:32]
    if all(32 <= byte < 127 or byte in b"\t\r\n" for byte in start):
        return f"text that starts with {start.decode('ascii')!r}"
    return f"{len(data):,} bytes that start with {data[:8].hex(' ')}"


def _remedy(data: bytes) -> str:
    return "convert it first" if data else "send the whole file"


def _read_png(data: bytes) -> ImageHeader:
    if data[12:16] != b"IHDR":
        raise ValueError("the first chunk must be IHDR")
    width, height = struct.unpack_from(">II", data, 16)
    return ImageHeader(PNG, width, height, is_whole=_has_png_end(data))


def _has_png_end(data: bytes) -> bool:
    position = len(_PNG_SIGNATURE)
    while position + 12 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        is_end = data[position + 4 : position + 8] == b"IEND"
        position += 12 + int(length)  # length, type and checksum take 4 bytes each
        if is_end:
            return position <= len(data)
    return False


def _read_jpeg(data: bytes) -> ImageHeader:
    position = 2
    for _ in range(_MAX_JPEG_SEGMENTS):
        if data[position] != 0xFF:
            raise ValueError("a segment must start with FF")
        while data[position] == 0xFF:  # any number may fill the gap
            position += 1
        marker = data[position]
        position += 1
        if marker in _JPEG_WITHOUT_LENGTH:
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 3)
            # Not from the start: a thumbnail before the frame has an end of its own.
            return ImageHeader(JPEG, width, height, data.find(_JPEG_END, position) >= 0)
        if marker in (0xD9, 0xDA):
            raise ValueError("pixels must come after their frame")
        position += struct.unpack_from(">H", data, position)[0]
    raise ValueError("too many segments before the frame")


def _read_webp(data: bytes) -> ImageHeader:
    (size,) = struct.unpack_from("<I", data, 4)
    kind = data[12:16]
    if kind == b"VP8X":  # extended: canvas, 24 bits each, less one
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        shortest = 30
    elif kind == b"VP8L":  # lossless: 14 bits each, less one
        (bits,) = struct.unpack_from("<I", data, 21)
        width, height = (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
        shortest = 25
    elif kind == b"VP8 ":  # lossy: 14 bits each, two more for scaling
        width, height = (side & 0x3FFF for side in struct.unpack_from("<HH", data, 26))
        shortest = 30
    else:
        raise ValueError(f"unknown WebP chunk {kind!r}")
    if len(data) < shortest:
        raise ValueError("shorter than its header")
    return ImageHeader(WEBP, width, height, is_whole=len(data) >= size + 8)
