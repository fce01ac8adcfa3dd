"""Bytes to RGB: every mode of every accepted format, turned and flattened."""

import hashlib
import struct
import threading
import zlib

import numpy as np
import pytest
import torch
from PIL import Image

from recsys.errors import ImageRefused
from recsys.images.decode import decode, inspect

RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)
NAMES = ["png", "jpeg", "progressive", "webp", "lossless", "extended", "palette", "cmyk"]


def pixel(data: bytes, x: int = 0, y: int = 0) -> tuple[int, ...]:
    return tuple(decode(data)[:, y, x].tolist())


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_decodes_lossless_kinds_to_their_own_pixels(kind: str, draw, encode) -> None:
    decoded = decode(encode(draw(), kind, lossless=True))
    assert torch.equal(decoded, torch.tensor(np.array(draw())).permute(2, 0, 1))


def test_decodes_jpeg_nearly(draw, encode) -> None:
    original = torch.tensor(np.array(draw())).permute(2, 0, 1).int()
    assert (decode(encode(draw(), "JPEG", quality=95)).int() - original).abs().max() < 12


@pytest.mark.parametrize("name", NAMES)
def test_facts_are_those_of_the_decoded_image(name: str, valid) -> None:
    data = valid[name]
    facts = inspect(data)
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.num_bytes == len(data)
    assert decode(data).shape == (3, facts.height, facts.width)
    kinds = {"png": "png", "palette": "png", "webp": "webp", "lossless": "webp", "extended": "webp"}
    assert facts.media_type == f"image/{kinds.get(name, 'jpeg')}"


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA"])
def test_every_png_mode_becomes_rgb(mode: str, encode) -> None:
    assert pixel(encode(Image.new("RGB", (3, 2), WHITE).convert(mode))) == WHITE
    assert pixel(encode(Image.new("RGB", (3, 2), "black").convert(mode))) == (0, 0, 0)


def test_palette_keeps_its_colours(encode) -> None:
    assert pixel(encode(Image.new("RGB", (3, 2), GREEN).quantize(4))) == GREEN


def test_cmyk_jpeg_becomes_rgb(encode) -> None:
    data = encode(Image.new("RGB", (8, 8), RED).convert("CMYK"), "JPEG", quality=100)
    assert np.abs(np.subtract(pixel(data), RED)).max() <= 8


def test_grey_of_16_bits_is_scaled_and_not_clipped(encode) -> None:
    grey = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert decode(encode(Image.fromarray(grey)))[0].tolist() == [[0, 1, 128, 255]]


def test_colour_of_16_bits_is_scaled(chunk, png_header) -> None:
    row = b"\0" + struct.pack(">HHH", 65535, 32768, 0)
    data = png_header(1, 1, 16) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert pixel(data) == (255, 128, 0)


def test_transparency_is_laid_on_white(encode) -> None:
    assert pixel(encode(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))) == WHITE
    half = pixel(encode(Image.new("RGBA", (2, 2), (0, 0, 0, 128))))
    assert half == (127, 127, 127)
    assert pixel(encode(Image.new("RGB", (2, 2), GREEN), transparency=GREEN)) == WHITE
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([*RED, *GREEN])
    assert pixel(encode(palette, transparency=1)) == WHITE
    assert pixel(encode(palette, transparency=0)) == GREEN
    grey = Image.fromarray(np.full((2, 2), 1000, dtype=np.uint16))
    assert pixel(encode(grey, transparency=1000)) == WHITE


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str, draw, encode, exif) -> None:
    # Where the stored first row and first column stand when shown (EXIF 2.3, table of 0x0112).
    upright = np.array(draw(6, 4))
    undo = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }
    stored = Image.fromarray(np.ascontiguousarray(undo[orientation](upright)))
    data = encode(stored, kind, exif=exif(orientation), lossless=True)
    assert np.array_equal(decode(data).permute(1, 2, 0).numpy(), upright)
    assert (inspect(data).width, inspect(data).height) == (6, 4)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_leaves_the_image(
    orientation: int, draw, encode, exif
) -> None:
    data = encode(draw(6, 4), exif=exif(orientation))
    assert decode(data).shape == (3, 4, 6)


def test_damaged_exif_leaves_the_image(draw, encode) -> None:
    data = encode(draw(6, 4), "JPEG", exif=b"Exif\0\0MM\0*\0\0")
    assert decode(data).shape == (3, 4, 6)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_is_refused(kind: str, draw, encode) -> None:
    frames = [draw(), draw().transpose(Image.Transpose.ROTATE_180)]
    data = encode(frames[0], kind, save_all=True, append_images=frames[1:])
    for read in (inspect, decode):
        with pytest.raises(ImageRefused, match="animation"):
            read(data)


def test_of_a_jpeg_with_several_pictures_the_first_is_the_image(draw, encode) -> None:
    data = encode(draw(24, 16), "MPO", save_all=True, append_images=[draw(8, 8)])
    assert decode(data).shape == (3, 16, 24)
    assert inspect(data).media_type == "image/jpeg"


def test_decoding_in_threads_gives_the_same(valid) -> None:
    expected = {name: decode(data) for name, data in valid.items()}
    wrong: list[str] = []

    def work() -> None:
        for name, data in valid.items():
            if not torch.equal(decode(data), expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
