"""Images on their way to the model."""

import hashlib
import io

import numpy as np
import pytest
import torch
from PIL import Image

from recsys.errors import ImageRefused
from recsys.image_tokens.cache import ImageTokenCache
from recsys.images.decode import ImageLimits
from recsys.images.known import KnownImage
from recsys.images.preprocess import ImageGeometry, resize, to_unit_range
from recsys.images.reader import ImageReader
from recsys.scorer.idefics2 import MEAN, STD, normalise
from storage.errors import UnknownImage


class NothingStored:
    def image(self, sha256: str) -> bytes:
        raise UnknownImage(sha256)


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(pixels: np.ndarray) -> bytes:
    data = io.BytesIO()
    Image.fromarray(pixels).save(data, "PNG")
    return data.getvalue()


GEOMETRIES = [ImageGeometry(378, 980), ImageGeometry(square_px=64)]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("size", [(64, 64), (90, 1200), (500, 2100)])
def test_the_model_sees_the_same_bits_however_an_image_waits(
    geometry: ImageGeometry, size: tuple[int, int]
) -> None:
    pixels = noise(*size)
    image = ImageReader(NothingStored(), ImageLimits(), geometry).decode(png(pixels))
    whole = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
    seen = normalise(resize(to_unit_range(image), geometry))
    assert torch.equal(seen, normalise(resize(whole, geometry)))
    # As when images were normalised, taken back to [0, 1] to wait, and normalised again.
    twice = (normalise(resize(whole, geometry)) * STD + MEAN - MEAN) / STD
    assert torch.equal(seen, twice)


@pytest.mark.parametrize(
    ("geometry", "size", "dtype"),
    [
        (None, (700, 700), torch.uint8),
        (ImageGeometry(square_px=64), (64, 64), torch.uint8),
        (ImageGeometry(square_px=64), (128, 128), torch.uint8),
        (ImageGeometry(square_px=64), (128, 129), torch.float32),
        (ImageGeometry(378, 980), (512, 512), torch.uint8),
        (ImageGeometry(378, 980), (1024, 1024), torch.uint8),
        (ImageGeometry(378, 400), (900, 900), torch.float32),
    ],
)
def test_images_wait_as_bytes_unless_the_model_s_size_takes_less(
    geometry: ImageGeometry | None, size: tuple[int, int], dtype: torch.dtype
) -> None:
    image = ImageReader(NothingStored(), ImageLimits(), geometry).decode(png(noise(*size)))
    assert image.dtype == dtype
    if geometry is not None:
        height, width = geometry.size(*size)
        assert image.nbytes <= 3 * height * width * 4


class Stored:
    """One image under its name, and what else a test puts there."""

    def __init__(self, data: bytes) -> None:
        self.name = hashlib.sha256(data).hexdigest()
        self.data = {self.name: data}

    def image(self, sha256: str) -> bytes:
        return self.data[sha256]


def test_an_image_is_known_by_tokens_once_they_are_kept() -> None:
    data = png(noise(8, 8))
    stored = Stored(data)
    tokens = ImageTokenCache(1000, stored=lambda names: set(names) & {stored.name})
    reader = ImageReader(stored, ImageLimits(), tokens=tokens)
    first = reader.read(stored.name)
    assert isinstance(first, KnownImage)
    assert torch.equal(first.pixels, torch.from_numpy(noise(8, 8)).permute(2, 0, 1))
    first.keep(torch.ones(2, 3))
    stored.data.clear()
    for again in (reader.read(stored.name), reader.read_or_none(stored.name), reader.decode(data)):
        assert isinstance(again, KnownImage)
        assert again.pixels is None
        assert torch.equal(again.tokens, torch.ones(2, 3))


def test_nothing_is_kept_of_damaged_bytes_under_the_name_of_what_they_were() -> None:
    stored = Stored(png(noise(8, 8)))
    stored.data[stored.name] = png(noise(8, 9))  # an image, but another one
    tokens = ImageTokenCache(1000, stored=set)
    reader = ImageReader(stored, ImageLimits(), tokens=tokens)
    assert isinstance(reader.read(stored.name), torch.Tensor)


def test_bytes_that_are_no_image_are_refused_also_where_tokens_are_kept() -> None:
    tokens = ImageTokenCache(1000, stored=set)
    with pytest.raises(ImageRefused):
        ImageReader(NothingStored(), ImageLimits(), tokens=tokens).decode(b"no image")
    small = ImageReader(NothingStored(), ImageLimits(max_pixels=63), tokens=tokens)
    with pytest.raises(ImageRefused, match="at most 63 pixels"):
        small.decode(png(noise(8, 8)))
