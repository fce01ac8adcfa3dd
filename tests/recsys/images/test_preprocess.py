"""RGB to the model's input: the library's own resizing, padding and mask, with gradients."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.images.decode import ImageLimits
from recsys.images.preprocess import ImageGeometry, pad_batch, resize
from recsys.scorer.idefics2 import normalise

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
@pytest.mark.parametrize("is_noisy", [True, False])
def test_equals_the_library_within_two_grey_levels(
    height: int, width: int, is_noisy: bool, draw
) -> None:
    image = noisy(height, width) if is_noisy else np.array(draw(width, height))
    expected = reference([image])[0][0]
    pixels = normalise(resize(unit(image), ImageGeometry()))
    assert pixels.shape == expected.shape
    assert (pixels - expected).abs().max() * 0.5 <= 2 / 255


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
    pixels = normalise(resize(unit(image), ImageGeometry(40, 448)))
    assert pixels.shape == expected.shape == (3, 448, 192)
    assert (pixels - expected).abs().max() * 0.5 <= 2 / 255


def test_batch_is_padded_and_masked_as_the_library_does() -> None:
    images = [noisy(*size) for size in [(400, 500), (1000, 380), (378, 378)]]
    expected, expected_mask = reference(images)
    pixels, mask = pad_batch([resize(unit(each), ImageGeometry()) for each in images])
    pixels = normalise(pixels)
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
    pixels = resize(torch.rand(3, height, width), ImageGeometry(square_px=64))
    assert pixels.shape == (3, 64, 64)
    assert pixels.min() >= 0
    assert pixels.max() <= 1


def test_an_image_of_the_right_size_is_only_normalised() -> None:
    image = torch.rand(3, 64, 64, dtype=torch.float64)
    pixels = resize(image, ImageGeometry(square_px=64))
    assert torch.equal(pixels, image)
    assert torch.equal(normalise(pixels), (image - 0.5) / 0.5)


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
    assert torch.autograd.gradcheck(lambda x: resize(x, geometry), image)
    resize(image, geometry).sum().backward()
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
