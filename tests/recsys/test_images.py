"""Untrusted bytes to the model's input: judged, decoded, resized as the library does."""

import hashlib
import io
import struct
import threading
import tracemalloc
import zlib

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recsys.errors import ImageRefused
from recsys.image_header import read_header
from recsys.images import (
    ImageGeometry,
    ImageLimits,
    decode,
    inspect,
    pad_batch,
    to_model_input,
)

RED, GREEN, WHITE = (255, 0, 0), (0, 128, 0), (255, 255, 255)


def picture(width: int = 24, height: int = 16) -> Image.Image:
    """Smooth, unlike its mirror images, and of every brightness."""
    x, y = np.meshgrid(np.linspace(0, 1, width), np.linspace(0, 1, height))
    pixels = np.stack([x, y, (x + y * y) / 2], axis=-1) * 255
    return Image.fromarray(pixels.astype(np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(kind + body))
    return struct.pack(">I", len(body)) + kind + body + check


def png_header(width: int, height: int) -> bytes:
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)


def pixel(data: bytes, x: int = 0, y: int = 0) -> tuple[int, ...]:
    return tuple(decode(data)[:, y, x].tolist())


def exif(orientation: int) -> Image.Exif:
    tags = Image.Exif()
    tags[0x0112] = orientation
    return tags


VALID = {
    "png": encoded(picture()),
    "jpeg": encoded(picture(), "JPEG"),
    "progressive": encoded(picture(), "JPEG", progressive=True, exif=exif(6)),
    "webp": encoded(picture(), "WEBP"),
    "lossless": encoded(picture(), "WEBP", lossless=True),
    "extended": encoded(picture().convert("RGBA"), "WEBP", exif=exif(3)),
    "palette": encoded(picture().quantize(8), transparency=0),
    "cmyk": encoded(picture().convert("CMYK"), "JPEG"),
}


@pytest.fixture
def no_decoder(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was called")

    monkeypatch.setattr(Image, "open", fail)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_decodes_lossless_kinds_to_their_own_pixels(kind: str) -> None:
    decoded = decode(encoded(picture(), kind, lossless=True))
    assert torch.equal(decoded, torch.tensor(np.array(picture())).permute(2, 0, 1))


def test_decodes_jpeg_nearly() -> None:
    original = torch.tensor(np.array(picture())).permute(2, 0, 1).int()
    assert (decode(encoded(picture(), "JPEG", quality=95)).int() - original).abs().max() < 12


@pytest.mark.parametrize("name", VALID)
def test_facts_are_those_of_the_decoded_image(name: str) -> None:
    data = VALID[name]
    facts = inspect(data)
    assert facts.sha256 == hashlib.sha256(data).hexdigest()
    assert facts.num_bytes == len(data)
    assert decode(data).shape == (3, facts.height, facts.width)
    kinds = {"png": "png", "palette": "png", "webp": "webp", "lossless": "webp", "extended": "webp"}
    assert facts.media_type == f"image/{kinds.get(name, 'jpeg')}"


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA"])
def test_every_png_mode_becomes_rgb(mode: str) -> None:
    assert pixel(encoded(Image.new("RGB", (3, 2), WHITE).convert(mode))) == WHITE
    assert pixel(encoded(Image.new("RGB", (3, 2), "black").convert(mode))) == (0, 0, 0)


def test_palette_keeps_its_colours() -> None:
    assert pixel(encoded(Image.new("RGB", (3, 2), GREEN).quantize(4))) == GREEN


def test_cmyk_jpeg_becomes_rgb() -> None:
    data = encoded(Image.new("RGB", (8, 8), RED).convert("CMYK"), "JPEG", quality=100)
    assert np.abs(np.subtract(pixel(data), RED)).max() <= 8


def test_grey_of_16_bits_is_scaled_and_not_clipped() -> None:
    grey = np.array([[0, 257, 32768, 65535]], dtype=np.uint16)
    assert decode(encoded(Image.fromarray(grey)))[0].tolist() == [[0, 1, 128, 255]]


def test_colour_of_16_bits_is_scaled() -> None:
    row = b"\0" + struct.pack(">HHH", 65535, 32768, 0)
    header = struct.pack(">IIBBBBB", 1, 1, 16, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    data += chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b"")
    assert pixel(data) == (255, 128, 0)


def test_transparency_is_laid_on_white() -> None:
    assert pixel(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 0)))) == WHITE
    half = pixel(encoded(Image.new("RGBA", (2, 2), (0, 0, 0, 128))))
    assert half == (127, 127, 127)
    assert pixel(encoded(Image.new("RGB", (2, 2), GREEN), transparency=GREEN)) == WHITE
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([*RED, *GREEN])
    assert pixel(encoded(palette, transparency=1)) == WHITE
    assert pixel(encoded(palette, transparency=0)) == GREEN
    grey = Image.fromarray(np.full((2, 2), 1000, dtype=np.uint16))
    assert pixel(encoded(grey, transparency=1000)) == WHITE


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_orientation_is_applied(orientation: int, kind: str) -> None:
    # Where the stored first row and first column stand when shown (EXIF 2.3, table of 0x0112).
    upright = np.array(picture(6, 4))
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
    data = encoded(stored, kind, exif=exif(orientation), lossless=True)
    assert np.array_equal(decode(data).permute(1, 2, 0).numpy(), upright)
    assert (inspect(data).width, inspect(data).height) == (6, 4)


@pytest.mark.parametrize("orientation", [0, 9, 65535])
def test_an_orientation_that_does_not_exist_leaves_the_image(orientation: int) -> None:
    data = encoded(picture(6, 4), exif=exif(orientation))
    assert decode(data).shape == (3, 4, 6)


def test_damaged_exif_leaves_the_image() -> None:
    data = encoded(picture(6, 4), "JPEG", exif=b"Exif\0\0MM\0*\0\0")
    assert decode(data).shape == (3, 4, 6)


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_animation_is_refused(kind: str) -> None:
    frames = [picture(), picture().transpose(Image.Transpose.ROTATE_180)]
    data = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    for read in (inspect, decode):
        with pytest.raises(ImageRefused, match="animation"):
            read(data)


def test_of_a_jpeg_with_several_pictures_the_first_is_the_image() -> None:
    data = encoded(picture(24, 16), "MPO", save_all=True, append_images=[picture(8, 8)])
    assert decode(data).shape == (3, 16, 24)
    assert inspect(data).media_type == "image/jpeg"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no bytes"),
        (b"Hello, I am a picture.", "text that starts with 'Hello"),
        (b"\0\1\2", "3 bytes that start with 00 01 02"),
        (encoded(picture(), "GIF"), "PNG, JPEG or WebP"),
        (encoded(picture(), "BMP"), "PNG, JPEG or WebP"),
        (encoded(picture(), "TIFF"), "PNG, JPEG or WebP"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text"),
        (VALID["png"][:20], "damaged header"),
        (VALID["jpeg"][:20], "damaged header"),
        (VALID["webp"][:20], "damaged header"),
        (png_header(0, 7), "at least 1 × 1"),
        (png_header(2**31 - 1, 2**31 - 1), "25,000,000 pixels"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(data: bytes, says: str) -> None:
    for read in (inspect, decode):
        with pytest.raises(ImageRefused) as refused:
            read(data)
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", VALID)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_truncated_files_are_refused(name: str, share: float) -> None:
    data = VALID[name]
    for read in (inspect, decode):
        with pytest.raises(ImageRefused):
            read(data[: int(len(data) * share) - 2])


def test_limits_hold_before_any_decoder_is_called(no_decoder: None) -> None:
    data = VALID["png"]
    with pytest.raises(ImageRefused, match="at most 10 bytes"):
        inspect(data, ImageLimits(max_bytes=10))
    for each in ("png", "jpeg", "webp", "lossless", "extended"):
        with pytest.raises(ImageRefused, match=r"at most 383 pixels, got 24 × 16"):
            decode(VALID[each], ImageLimits(max_pixels=24 * 16 - 1))


def test_limits_include_their_bound() -> None:
    data = VALID["png"]
    assert decode(data, ImageLimits(max_bytes=len(data), max_pixels=24 * 16)).shape == (3, 16, 24)


def test_a_huge_png_header_is_refused_before_memory_is_spent(no_decoder: None) -> None:
    header = png_header(50_000, 50_000)
    bomb = header + chunk(b"IDAT", zlib.compress(bytes(100_000))) + chunk(b"IEND", b"")
    tracemalloc.start()
    try:
        for data in (header, bomb):
            for read in (inspect, decode):
                with pytest.raises(ImageRefused, match="got 50,000 × 50,000"):
                    read(data)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1_000_000


def test_a_webp_canvas_that_hides_its_size_is_refused() -> None:
    data = bytearray(VALID["extended"])
    data[24:30] = (16_000).to_bytes(3, "little") * 2
    with pytest.raises(ImageRefused, match="16,001 × 16,001"):
        decode(bytes(data))


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    with pytest.raises(ImageRefused, match="damaged header"):
        read_header(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 100_000)


def test_decoding_in_threads_gives_the_same() -> None:
    expected = {name: decode(data) for name, data in VALID.items()}
    wrong: list[str] = []

    def work() -> None:
        for name, data in VALID.items():
            if not torch.equal(decode(data), expected[name]):
                wrong.append(name)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def judged(data: bytes) -> None:
    """Whatever the bytes, a refusal or a picture; what decodes passes inspection alike."""
    limits = ImageLimits(max_pixels=100_000)
    try:
        decoded = decode(data, limits)
    except ImageRefused:
        decoded = None
    try:
        facts = inspect(data, limits)
    except ImageRefused:
        assert decoded is None
    else:
        assert decoded is None or decoded.shape == (3, facts.height, facts.width)


@settings(deadline=None, max_examples=200)
@given(
    start=st.sampled_from([b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\x40\0\0\0WEBPVP8"]),
    rest=st.binary(max_size=200),
)
def test_random_bytes_are_judged(start: bytes, rest: bytes) -> None:
    judged(start + rest)


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(VALID)),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    keep=st.floats(0, 1),
    is_cut=st.booleans(),
    extra=st.binary(max_size=16),
)
def test_mutated_files_are_judged(
    name: str, changes: list[tuple[float, int]], keep: float, is_cut: bool, extra: bytes
) -> None:
    data = bytearray(VALID[name])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    judged(bytes(data[: int(keep * len(data))] if is_cut else data) + extra)


@settings(deadline=None, max_examples=100)
@given(
    kind=st.sampled_from([b"tRNS", b"eXIf", b"iCCP", b"acTL", b"fcTL", b"zTXt", b"PLTE", b"pHYs"]),
    body=st.binary(max_size=64),
)
def test_odd_png_chunks_are_judged(kind: bytes, body: bytes) -> None:
    data = VALID["png"]
    judged(data[:33] + chunk(kind, body) + data[33:])


SIZES = [
    (378, 378),
    (512, 512),
    (980, 980),
    (981, 400),
    (400, 1200),
    (1500, 1501),
    (100, 60),
    (1, 1),
    (3, 1400),
    (1400, 3),
    (379, 977),
    (640, 480),
]


def reference(images: list[np.ndarray], **options: object):
    from transformers.models.idefics2.image_processing_pil_idefics2 import Idefics2ImageProcessorPil

    processor = Idefics2ImageProcessorPil(**options)
    pictures = [[image] for image in images]
    answer = processor(pictures, return_tensors="pt", input_data_format="channels_last")
    return answer["pixel_values"][:, 0], answer["pixel_attention_mask"][:, 0]


def noisy(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * 7 + width).integers(0, 256, (height, width, 3), np.uint8)


def unit(image: np.ndarray, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.from_numpy(image).permute(2, 0, 1).to(dtype) / 255


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("make", [noisy, lambda h, w: np.array(picture(w, h))])
def test_equals_the_library_within_two_grey_levels(height: int, width: int, make) -> None:
    image = make(height, width)
    expected = reference([image])[0][0]
    found = to_model_input(unit(image), ImageGeometry())
    assert found.shape == expected.shape
    assert (found - expected).abs().max() * 0.5 <= 2 / 255


@settings(deadline=None, max_examples=300)
@given(st.integers(1, 4000), st.integers(1, 4000))
def test_size_rule_is_the_librarys(height: int, width: int) -> None:
    from transformers.image_utils import SizeDict
    from transformers.models.idefics2.image_processing_pil_idefics2 import (
        get_resize_output_image_size,
    )

    limits = SizeDict(shortest_edge=378, longest_edge=980)
    image = np.broadcast_to(np.uint8(0), (3, height, width))
    assert ImageGeometry().size(height, width) == get_resize_output_image_size(image, limits)
    assert all(378 <= side <= 980 for side in ImageGeometry().size(height, width))


def test_other_edges_are_the_librarys_too() -> None:
    image = noisy(700, 300)
    expected = reference([image], size={"shortest_edge": 40, "longest_edge": 448})[0][0]
    found = to_model_input(unit(image), ImageGeometry(40, 448))
    assert found.shape == expected.shape == (3, 448, 192)
    assert (found - expected).abs().max() * 0.5 <= 2 / 255


def test_batch_is_padded_and_masked_as_the_library_does() -> None:
    images = [noisy(*size) for size in [(400, 500), (1000, 380), (378, 378)]]
    expected, expected_mask = reference(images)
    pixels, mask = pad_batch([to_model_input(unit(each), ImageGeometry()) for each in images])
    assert torch.equal(mask, expected_mask.bool())
    assert (pixels - expected).abs().max() * 0.5 <= 2 / 255
    assert (pixels[~mask[:, None].expand_as(pixels)] == 0).all()


def test_padding_changes_no_image_and_an_empty_batch_is_refused() -> None:
    images = [torch.rand(3, 4, 6), torch.rand(3, 5, 2)]
    pixels, mask = pad_batch(images)
    assert pixels.shape == (2, 3, 5, 6)
    for row, kept, image in zip(pixels, mask, images, strict=True):
        assert torch.equal(row[:, kept].flatten(), image.flatten())
    with pytest.raises(ValueError, match="at least 1"):
        pad_batch([])


@pytest.mark.parametrize(("height", "width"), [(64, 64), (1, 1), (300, 20), (20, 300)])
def test_square_geometry_ignores_the_aspect(height: int, width: int) -> None:
    found = to_model_input(torch.rand(3, height, width), ImageGeometry(square_px=64))
    assert found.shape == (3, 64, 64)
    assert found.min() >= -1
    assert found.max() <= 1


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    image = torch.rand(3, 64, 64, dtype=torch.float64)
    found = to_model_input(image, ImageGeometry(square_px=64))
    assert torch.equal(found, (image - 0.5) / 0.5)


@pytest.mark.parametrize(
    ("geometry", "height", "width"),
    [
        (ImageGeometry(square_px=4), 6, 3),
        (ImageGeometry(square_px=5), 3, 4),
        (ImageGeometry(3, 5), 7, 4),
        (ImageGeometry(3, 5), 4, 4),
    ],
)
def test_gradients_reach_the_unit_tensor(geometry: ImageGeometry, height: int, width: int) -> None:
    image = torch.rand(3, height, width, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: to_model_input(x, geometry), image)
    to_model_input(image, geometry).sum().backward()
    assert (image.grad != 0).all()


def test_gradients_pass_the_padding() -> None:
    images = [torch.rand(3, 3, 2, dtype=torch.float64, requires_grad=True) for _ in range(2)]
    wide = torch.rand(3, 2, 4, dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda *each: pad_batch([*each, wide])[0], images)


@pytest.mark.parametrize("wrong", [(0, 5, None), (6, 5, None), (1, 5, 0)])
def test_a_geometry_that_cannot_be_is_refused(wrong: tuple[int, int, int | None]) -> None:
    with pytest.raises(ValueError, match="px"):
        ImageGeometry(*wrong)


def test_limits_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        ImageLimits(max_pixels=0)
