"""A base model that sees by EfficientNet-Lite: its dimensions, and one with fresh weights."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from recsys.images.preprocess import ImageGeometry
from recsys.scorer.decoder import observe_attention
from recsys.scorer.digests import tensors_digest
from recsys.scorer.photo.connector import ConnectorShape
from recsys.scorer.photo.family import build_config
from recsys.scorer.photo.model import MODEL_TYPE, PhotoModel, write_tower
from recsys.scorer.photo.published_tower import LITE0_SHA256, read_published_tower
from recsys.scorer.photo.tower import TowerShape
from training.fitting.pretraining.tiny_base import draw_weights, text_values


@dataclass(frozen=True)
class PhotoShape:
    """Dimensions of such a model.

    Attributes:
        tower: that sees; EfficientNet-Lite0 has published weights, others are drawn.
        connector: what an image's tokens are made of.
        width, layers, heads, key_value_heads, mlp_width: the decoder.
        vocabulary: size of the tokenizer's vocabulary, special tokens included.
    """

    tower: TowerShape = field(default_factory=TowerShape)
    connector: ConnectorShape = field(default_factory=ConnectorShape)
    width: int = 128
    layers: int = 5
    heads: int = 4
    key_value_heads: int = 2
    mlp_width: int = 320
    vocabulary: int = 1500

    @property
    def geometry(self) -> ImageGeometry:
        """How images are brought to the tower's size."""
        return ImageGeometry(square_px=self.tower.image_px)

    @property
    def is_published(self) -> bool:
        """Whether there are published weights of the tower."""
        return self.tower == TowerShape()


def photo_values(shape: PhotoShape, *, vocabulary: int) -> dict[str, Any]:
    """Values of the configuration."""
    return {
        "model_type": MODEL_TYPE,
        "tower": shape.tower.to_json(),
        "connector": shape.connector.to_json(),
        "text_config": text_values(
            vocabulary=vocabulary,
            width=shape.width,
            layers=shape.layers,
            heads=shape.heads,
            key_value_heads=shape.key_value_heads,
            mlp_width=shape.mlp_width,
        ),
    }


def build_photo_model(shape: PhotoShape, *, vocabulary: int, seed: int) -> PhotoModel:
    """A model with fresh weights but for a published tower's, on the CPU in float32.

    Args:
        shape: dimensions.
        vocabulary: number of token ids.
        seed: decides every weight that is drawn.

    Raises:
        PreconditionFailed: if the package with the published tower is not installed.
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = PhotoModel(build_config(photo_values(shape, vocabulary=vocabulary)))
        draw_weights(model, depth=shape.layers)
    if shape.is_published:
        model.tower.load_state_dict(read_published_tower(list(model.tower.state_dict())))
    else:
        model.config.tower_sha256 = tensors_digest(model.tower.state_dict())
    model.tower.requires_grad_(False)  # a base names its weights by their digest
    return observe_attention(model)


def save_photo_model(model: PhotoModel, folder: Path) -> None:
    """Write a base, and its tower beside it where no package has that."""
    model.save_pretrained(folder)
    if model.config.tower_sha256 != LITE0_SHA256:
        write_tower(model.tower.state_dict(), folder)
