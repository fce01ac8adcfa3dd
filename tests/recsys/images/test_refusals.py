"""What is no acceptable image is refused in a sentence, before memory is spent; never a crash."""

import tracemalloc
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from recsys.errors import ImageRefused
from recsys.images.decode import ImageLimits, decode, inspect
from recsys.images.header import read_header
from recsys.reasons import Reason

NAMES = ["png", "jpeg", "progressive", "webp", "lossless", "extended", "palette", "cmyk"]


@pytest.fixture
def no_decoder(monkeypatch):
    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a decoder was called")

    monkeypatch.setattr(Image, "open", fail)


def assert_refused(data: bytes, says: str) -> None:
    for read in (inspect, decode):
        with pytest.raises(ImageRefused) as refused:
            read(data)
        assert says in str(refused.value)
        assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "no bytes: send the whole file"),
        (b"Hello, I am a picture.", "text that starts with 'Hello"),
        (b"\0\1\2", "3 bytes that start with 00 01 02"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "text"),
    ],
)
def test_what_is_no_image_is_refused_in_one_sentence(data: bytes, says: str) -> None:
    assert_refused(data, says)


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "ICO", "PPM"])
def test_other_formats_are_refused(kind: str, draw, encode) -> None:
    assert_refused(encode(draw(), kind), "PNG, JPEG or WebP")


@pytest.mark.parametrize("name", ["png", "jpeg", "webp", "lossless", "extended"])
def test_a_header_that_ends_early_is_refused(name: str, valid) -> None:
    assert_refused(valid[name][:20], "damaged header")


@pytest.mark.parametrize(
    ("size", "says"), [((0, 7), "at least 1 × 1"), ((2**31 - 1,) * 2, "25,000,000 pixels")]
)
def test_a_size_that_cannot_be_is_refused(size: tuple[int, int], says: str, png_header) -> None:
    assert_refused(png_header(*size), says)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_truncated_files_are_refused(name: str, share: float, valid) -> None:
    data = valid[name]
    for read in (inspect, decode):
        with pytest.raises(ImageRefused):
            read(data[: int(len(data) * share) - 2])


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("text", Reason.IMAGE_TYPE_UNSUPPORTED),
        ("gif", Reason.IMAGE_TYPE_UNSUPPORTED),
        ("header", Reason.IMAGE_CORRUPT),
        ("truncated", Reason.IMAGE_CORRUPT),
        ("bytes", Reason.IMAGE_TOO_LARGE),
        ("pixels", Reason.IMAGE_TOO_LARGE),
        ("animated", Reason.IMAGE_ANIMATED),
    ],
)
def test_programs_are_told_why(kind: str, reason: Reason, valid, draw, encode, png_header) -> None:
    animation = encode(draw(), "PNG", save_all=True, append_images=[draw(9, 7)])
    data = {
        "text": b"no image",
        "gif": encode(draw(), "GIF"),
        "header": valid["png"][:20],
        "truncated": valid["jpeg"][:-2],
        "bytes": bytes(11 * 2**20),
        "pixels": png_header(50_000, 50_000),
        "animated": animation,
    }[kind]

    for read in (inspect, decode):
        with pytest.raises(ImageRefused) as refused:
            read(data)
        assert refused.value.reason == reason


def test_limits_hold_before_any_decoder_is_called(no_decoder: None, valid) -> None:
    data = valid["png"]
    with pytest.raises(ImageRefused, match="at most 10 bytes"):
        inspect(data, ImageLimits(max_bytes=10))
    for each in ("png", "jpeg", "webp", "lossless", "extended"):
        with pytest.raises(ImageRefused, match=r"at most 383 pixels, got 24 × 16"):
            decode(valid[each], ImageLimits(max_pixels=24 * 16 - 1))


def test_limits_include_their_bound(valid) -> None:
    data = valid["png"]
    assert decode(data, ImageLimits(max_bytes=len(data), max_pixels=24 * 16)).shape == (3, 16, 24)


def test_a_huge_png_header_is_refused_before_memory_is_spent(
    no_decoder: None, chunk, png_header
) -> None:
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


def test_a_webp_canvas_that_hides_its_size_is_refused(valid) -> None:
    data = bytearray(valid["extended"])
    data[24:30] = (16_000).to_bytes(3, "little") * 2
    with pytest.raises(ImageRefused, match="16,001 × 16,001"):
        decode(bytes(data))


def test_a_jpeg_of_endless_segments_is_refused() -> None:
    with pytest.raises(ImageRefused, match="damaged header"):
        read_header(b"\xff\xd8" + b"\xff\xe0\x00\x02" * 100_000)


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
    name=st.sampled_from(NAMES),
    changes=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=8),
    keep=st.floats(0, 1),
    is_cut=st.booleans(),
    extra=st.binary(max_size=16),
)
def test_mutated_files_are_judged(
    name: str, changes: list[tuple[float, int]], keep: float, is_cut: bool, extra: bytes, valid
) -> None:
    data = bytearray(valid[name])
    for place, value in changes:
        data[int(place * (len(data) - 1))] = value
    judged(bytes(data[: int(keep * len(data))] if is_cut else data) + extra)


@settings(deadline=None, max_examples=100)
@given(
    kind=st.sampled_from([b"tRNS", b"eXIf", b"iCCP", b"acTL", b"fcTL", b"zTXt", b"PLTE", b"pHYs"]),
    body=st.binary(max_size=64),
)
def test_odd_png_chunks_are_judged(kind: bytes, body: bytes, chunk, valid) -> None:
    data = valid["png"]
    judged(data[:33] + chunk(kind, body) + data[33:])
