"""What the scorer needs of models that see by EfficientNet-Lite: see `recsys.scorer.backbone`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from recsys.images.preprocess import squares
from recsys.scorer.backbone import Dimensions, Family, Quantization, Tower
from recsys.scorer.base_model import find_base
from recsys.scorer.decoder import DecoderBackbone, observe_attention
from recsys.scorer.photo.connector import ConnectorShape
from recsys.scorer.photo.model import PhotoConfig, PhotoModel, carry_tower
from recsys.scorer.precision import computing_in
from recsys.scorer.pretrained import load_pretrained
from recsys.scorer.recomputation import recompute
from recsys.scorer.template import ImageMarkup

IMAGE_TOKEN = "<image>"
FENCE_TOKEN = "<fake_token_around_image>"

DECODER_TARGETS = r".*text_model.*_proj"
ADAPTER_TARGETS = r".*(text_model|connector).*_proj"
VISION_TOWER = "tower"
CONNECTOR = "connector"
OUTPUT_MATRIX = "lm_head"

PARTS = {
    "vision tower": VISION_TOWER,
    "connector": CONNECTOR,
    "text model": "text_model",
    "output matrix": OUTPUT_MATRIX,
}


class PhotoBackbone(DecoderBackbone):
    """A `PhotoModel`, with or without a PEFT adapter, as `recsys.scorer.backbone.Backbone`.

    Args:
        model: `PhotoModel`, or a `PeftModel` around one, whose text model was given to
            `observe_attention`.
    """

    @property
    def decoder(self) -> nn.Module:
        """The text model."""
        return cast(nn.Module, self.plain.text_model)

    @property
    def num_image_tokens(self) -> int:
        """T, those that the connector makes."""
        return len(self.plain.config.connector_shape.tokens)

    @property
    def image_modules(self) -> tuple[nn.Module, ...]:
        """The vision tower and the connector."""
        return cast(nn.Module, self.plain.tower), cast(nn.Module, self.plain.connector)

    @property
    def image_markup(self) -> ImageMarkup:
        """T image tokens between two fences."""
        return image_markup(self.num_image_tokens)

    def keep_no_activations(self) -> None:
        """Compute each layer's activations again in the backward pass: less memory, a third slower.

        Of the decoder, the blocks of the tower and the projections of the connector. Takes effect
        in training mode.
        """
        blocks = (block for stage in self.plain.tower.stages for block in stage)
        for layer in (*self.layers, *blocks, *self.plain.connector.projections):
            recompute(layer)

    def image_tokens(
        self, images: Float[Tensor, "N 3 H W"], mask: Bool[Tensor, "N H W"] | None = None
    ) -> Float[Tensor, "N T D"]:
        """See images by the tower and make tokens of that; differentiable.

        Args:
            images: RGB in [0, 1]; each is brought to the square of the tower, if it is not one.
            mask: True where `images` is image and not padding behind it; None: all image.
        """
        side_px = self.plain.config.tower_shape.image_px
        pixels = squares(images.to(self.device), mask, side_px).to(self.dtype)
        tower, connector = self.image_modules
        with computing_in(self.dtype, self.device, tower, connector):
            tokens = connector(tower(pixels))
        return cast(Tensor, tokens.to(self.dtype))


def image_markup(num_image_tokens: int) -> ImageMarkup:
    """T image tokens between two fences, as Idefics2 writes an image."""
    return ImageMarkup(IMAGE_TOKEN, num_image_tokens, before=(FENCE_TOKEN,), after=(FENCE_TOKEN,))


def load_model(
    source: str | Path,
    *,
    revision: str | None = None,
    dtype: torch.dtype = torch.float32,
    quantization: Quantization = "none",
    unquantized: tuple[str, ...] = (),
    device: str = "cpu",
) -> PhotoModel:
    """Load a model by hub name or folder: see `recsys.scorer.backbone.LoadBase`.

    Raises:
        PreconditionFailed: if the package that its tower comes from is not installed.
        CheckpointRefused: if the files are missing, damaged or of another architecture, or the
            tower is another one than the model was trained on.
    """
    folder = find_base(source, revision=revision).folder
    model: PhotoModel = load_pretrained(
        PhotoModel,
        folder,
        revision=None,
        dtype=dtype,
        quantization=quantization,
        unquantized=(OUTPUT_MATRIX, VISION_TOWER, CONNECTOR, *unquantized),
        device=device,
    )
    model.take_tower(folder)
    observe_attention(model).eval()  # type: ignore[no-untyped-call]
    return model


def build_on_meta(values: Mapping[str, Any]) -> PhotoModel:
    """A model of any size without its weights: shapes to count with, and no memory."""
    with torch.device("meta"):
        return observe_attention(PhotoModel(build_config(values)))


def build_config(values: Mapping[str, Any]) -> PhotoConfig:
    """The configuration, of any size.

    Args:
        values: of `PhotoConfig`; `model_type` may be among them.
    """
    return PhotoConfig(**{name: each for name, each in values.items() if name != "model_type"})


def _dimensions(values: Mapping[str, Any]) -> Dimensions:
    """The tower counts as one layer, for no two of its blocks are alike."""
    text, tower = values["text_config"], values["tower"]
    tokens = ConnectorShape.from_json(values["connector"]).tokens
    return Dimensions(
        text=Tower(text["hidden_size"], text["intermediate_size"], text["num_hidden_layers"]),
        vision=Tower(tower["head"], tower["head"], num_layers=1),
        patch_px=1,
        image_places=image_markup(len(tokens)).num_places,
        vocabulary=text["vocab_size"],
    )


def _with_layers(values: Mapping[str, Any], *, text: int, vision: int) -> dict[str, Any]:
    """As many layers in the decoder; the tower is as it is, whatever is asked for."""
    return {**values, "text_config": {**values["text_config"], "num_hidden_layers": text}}


FAMILY = Family(
    load=load_model,
    wrap=PhotoBackbone,
    build_on_meta=build_on_meta,
    dimensions=_dimensions,
    with_layers=_with_layers,
    adapter_targets=ADAPTER_TARGETS,
    decoder_targets=DECODER_TARGETS,
    vision_tower=VISION_TOWER,
    parts=PARTS,
    never_quantized=(OUTPUT_MATRIX, "embed", VISION_TOWER, CONNECTOR),
    published={},
    complete=carry_tower,
)
