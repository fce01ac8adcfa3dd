"""Image preparation against Pillow, which the originals use."""

import numpy as np
import pytest
import torch
from PIL import Image

from training.baselines._pixels import CLIP_SCALE, crop_middle, pad_to_square

SIZES = [(16, 16), (20, 33), (40, 17), (7, 30), (64, 5), (100, 101), (1, 1)]


def random_image(height, width):
    generator = torch.Generator().manual_seed(height * width)
    return torch.randint(0, 256, (3, height, width), generator=generator).to(torch.uint8)


def with_pillow(image, height, width):
    """Across, then down, as Pillow has always done; the newest turns it round for tall images."""
    picture = Image.fromarray(image.permute(1, 2, 0).numpy())
    for size in ((width, picture.height), (width, height)):
        picture = picture.resize(size, Image.Resampling.BICUBIC)
    return np.asarray(picture).astype(int).transpose(2, 0, 1)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_middle_is_pillows(height, width):
    image = random_image(height, width)
    tall = 16 if height <= width else int(16 * height / width)
    wide = 16 if width <= height else int(16 * width / height)
    top, left = round((tall - 16) / 2), round((wide - 16) / 2)

    pixels = crop_middle(image, 16)

    expected = with_pillow(image, tall, wide)[:, top : top + 16, left : left + 16]
    assert pixels.shape == (3, 16, 16)
    # One level of 255: the two round their filters' weights differently.
    assert np.abs(pixels.numpy().astype(int) - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_the_padded_is_pillows_between_black(height, width):
    image = random_image(height, width)
    tall, wide = (max(1, round(side * 16 / max(height, width))) for side in (height, width))
    top, left = (16 - tall) // 2, (16 - wide) // 2
    expected = np.zeros((3, 16, 16), dtype=int)
    expected[:, top : top + tall, left : left + wide] = with_pillow(image, tall, wide)

    pixels = pad_to_square(image, 16)

    assert np.abs(pixels.numpy().astype(int) - expected).max() <= 1


def test_an_image_of_the_right_size_is_left_alone():
    image = random_image(16, 16)

    assert torch.equal(crop_middle(image, 16), image)
    assert torch.equal(pad_to_square(image, 16), image)


def test_scales_each_channel_by_its_own_mean_and_deviation():
    image = torch.tensor([255, 0, 51]).to(torch.uint8).reshape(3, 1, 1)

    pixels = CLIP_SCALE(image).flatten()

    expected = [
        (1 - 0.48145466) / 0.26862954,
        (0 - 0.4578275) / 0.26130258,
        (0.2 - 0.40821073) / 0.27577711,
    ]
    assert pixels.tolist() == pytest.approx(expected)
