"""EfficientNet-Lite (Tan and Le, 2019; the Lite variants of 2020): the network that sees.

Blocks of a narrow - wide - narrow shape with a depthwise convolution inside; the Lite variants have
no squeeze-and-excitation, ReLU6 instead of swish, and a stem and a head of fixed width. Layers are
as published, and so is the padding: as little as keeps height and width divided by the stride,
the odd pixel behind.

Axes: N images, C channels, h and w of a layer's output.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, cast

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

# Pixels were in 0 ... 255 when the published weights were trained: (x - 127) / 128.
MEAN = 127 / 255
STD = 128 / 255

NORM_EPSILON = 1e-3
"""Added to variances of batch norm, as published."""

_FLAT = 1e-6
"""Added to the variance over a layer's places: where all are alike, its root has a slope."""


@dataclass(frozen=True)
class TowerStage:
    """A row of Table 1 of the paper: blocks of one width.

    Attributes:
        channels: C of its output.
        num_blocks: how many.
        kernel: side of the depthwise convolution.
        stride: of the first block; the others have 1.
        expansion: how many times wider the inside of a block is.
    """

    channels: int
    num_blocks: int
    kernel: int
    stride: int
    expansion: int


LITE0_STAGES = (
    TowerStage(16, 1, 3, 1, 1),
    TowerStage(24, 2, 3, 2, 6),
    TowerStage(40, 2, 5, 2, 6),
    TowerStage(80, 3, 3, 2, 6),
    TowerStage(112, 3, 5, 1, 6),
    TowerStage(192, 4, 5, 2, 6),
    TowerStage(320, 1, 3, 1, 6),
)


@dataclass(frozen=True)
class TowerShape:
    """Dimensions of the network; by default EfficientNet-Lite0.

    Attributes:
        image_px: side of the square picture that it was trained on.
        stem: channels of the first convolution, of stride 2.
        stages: in their order.
        head: width of the pooled features.
        classes: of the classifier.
    """

    image_px: int = 224
    stem: int = 32
    stages: tuple[TowerStage, ...] = LITE0_STAGES
    head: int = 1280
    classes: int = 1000

    def to_json(self) -> dict[str, Any]:
        """Plain values for a config.json."""
        return {**asdict(self), "stages": [asdict(stage) for stage in self.stages]}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "TowerShape":
        """The shape that `to_json` gave; TypeError or KeyError for other values."""
        return cls(**{**values, "stages": tuple(TowerStage(**each) for each in values["stages"])})


@dataclass(frozen=True, eq=False)
class TowerFeatures:
    """What the network makes of N images, without the places in them.

    Attributes:
        logits: (N, classes), of the classifier.
        pooled: (N, head), the mean over the places of the last layer.
        statistics: of each stage (N, 2C): mean and standard deviation over places, by channel.
    """

    logits: Float[Tensor, "N classes"]
    pooled: Float[Tensor, "N head"]
    statistics: tuple[Float[Tensor, "N _"], ...]


class NormalisedConvolution(nn.Module):
    """A convolution, and batch norm by its frozen statistics, in training mode too.

    Both are one convolution: y = s (w * x) + (shift - s mean), s = scale / sqrt(variance + eps).

    Args:
        inputs, outputs: channels.
        kernel: side.
        stride: of both axes.
        depthwise: each channel by itself.
        activates: ends in ReLU6.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        *,
        kernel: int = 1,
        stride: int = 1,
        depthwise: bool = False,
        activates: bool = True,
    ) -> None:
        super().__init__()
        self.stride, self.activates = stride, activates
        self.groups = inputs if depthwise else 1
        self.weight = nn.Parameter(torch.empty(outputs, inputs // self.groups, kernel, kernel))
        self.scale = nn.Parameter(torch.ones(outputs))
        self.shift = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("variance", torch.ones(outputs))
        nn.init.kaiming_normal_(self.weight)

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N outputs _ _"]:
        """Convolve, and normalise."""
        mean, variance = cast(Tensor, self.mean), cast(Tensor, self.variance)
        factor = self.scale * torch.rsqrt(variance + NORM_EPSILON)
        x, padding = self._padded(x)
        y = F.conv2d(
            x,
            self.weight * factor[:, None, None, None],
            self.shift - factor * mean,
            stride=self.stride,
            padding=padding,
            groups=self.groups,
        )
        return F.relu6(y) if self.activates else y

    def _padded(self, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
        """The input, and what is still to be padded on each side of height and width."""
        kernel = self.weight.shape[-1]
        both = [
            max((math.ceil(side / self.stride) - 1) * self.stride + kernel - side, 0)
            for side in x.shape[-2:]
        ]
        if all(each % 2 == 0 for each in both):
            return x, (both[0] // 2, both[1] // 2)
        height, width = both
        sides = (width // 2, width - width // 2, height // 2, height - height // 2)
        return F.pad(x, sides), (0, 0)


class Block(nn.Module):
    """Widen, look at the neighbourhood channel by channel, and narrow again.

    Args:
        inputs: channels.
        stage: of which the block is one.
        stride: of the depthwise convolution.
    """

    def __init__(self, inputs: int, stage: TowerStage, *, stride: int) -> None:
        super().__init__()
        inside = inputs * stage.expansion
        self.expand = NormalisedConvolution(inputs, inside) if stage.expansion > 1 else None
        self.depthwise = NormalisedConvolution(
            inside, inside, kernel=stage.kernel, stride=stride, depthwise=True
        )
        self.project = NormalisedConvolution(inside, stage.channels, activates=False)
        self.adds_input = stride == 1 and inputs == stage.channels

    def forward(self, x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N _ _ _"]:
        """The block's output, with its input added where both are of one shape."""
        y = x if self.expand is None else self.expand(x)
        y = self.project(self.depthwise(y))
        return cast(Tensor, x + y if self.adds_input else y)


class EfficientNetLite(nn.Module):
    """An image classifier whose features are read, too.

    Args:
        shape: of its layers.
    """

    def __init__(self, shape: TowerShape) -> None:
        super().__init__()
        self.stem = NormalisedConvolution(3, shape.stem, kernel=3, stride=2)
        self.stages = nn.ModuleList()
        inputs = shape.stem
        for stage in shape.stages:
            strides = (stage.stride, *[1] * (stage.num_blocks - 1))
            widths = (inputs, *[stage.channels] * (stage.num_blocks - 1))
            self.stages.append(
                nn.Sequential(
                    *(
                        Block(width, stage, stride=stride)
                        for width, stride in zip(widths, strides, strict=True)
                    )
                )
            )
            inputs = stage.channels
        self.head = NormalisedConvolution(inputs, shape.head)
        self.classifier = nn.Linear(shape.head, shape.classes)

    def forward(self, images: Float[Tensor, "N 3 H W"]) -> TowerFeatures:
        """See images; differentiable.

        Args:
            images: RGB in [0, 1], of any size; of `TowerShape.image_px` as in its training.
        """
        pixels = (images - MEAN) / STD
        x = self.stem(pixels.contiguous(memory_format=torch.channels_last))  # twice as fast on CPUs
        statistics = []
        for stage in self.stages:
            x = stage(x)
            statistics.append(over_places(x))
        pooled = self.head(x).mean(dim=(2, 3))
        return TowerFeatures(self.classifier(pooled), pooled, tuple(statistics))


def over_places(x: Float[Tensor, "N C h w"]) -> Float[Tensor, "N _"]:
    """Mean and standard deviation of each channel over all places, (N, 2C)."""
    variance, mean = torch.var_mean(x, dim=(2, 3), correction=0)
    return torch.cat([mean, torch.sqrt(variance + _FLAT)], dim=1)
