"""Images on their way to the model."""

import io

import numpy as np
import pytest
import torch
from PIL import Image

from recsys.images.decode import ImageLimits
from recsys.images.preprocess import ImageGeometry, resize
from recsys.images.reader import ImageReader
from recsys.scorer.idefics2 import MEAN, STD, normalise
from storage.errors import UnknownImage


class NothingStored:
    def image(self, sha256: str) -> bytes:
        raise UnknownImage(sha256)


@pytest.mark.parametrize("geometry", [ImageGeometry(378, 980), ImageGeometry(square_px=64)])
def test_images_wait_in_the_model_s_size_and_the_model_sees_the_same_bits(
    geometry: ImageGeometry,
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (90, 1200, 3), dtype=np.uint8)
    data = io.BytesIO()
    Image.fromarray(noise).save(data, "PNG")
    reader = ImageReader(NothingStored(), ImageLimits(), geometry)
    image = reader.decode(data.getvalue())
    assert tuple(image.shape[-2:]) == geometry.size(90, 1200)
    whole = torch.from_numpy(noise).permute(2, 0, 1).float() / 255
    seen = normalise(resize(image, geometry))
    assert torch.equal(seen, normalise(resize(whole, geometry)))
    # As when images were normalised, taken back to [0, 1] to wait, and normalised again.
    twice = (normalise(resize(whole, geometry)) * STD + MEAN - MEAN) / STD
    assert torch.equal(seen, twice)
