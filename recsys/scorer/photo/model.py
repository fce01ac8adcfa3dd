"""The base model of the family: a tower whose weights lie elsewhere, a connector, and a decoder.

On disk it is as the library's models are: config.json, and model.safetensors with connector and
decoder. The tower's weights are named by their digest; they come from an installed package, or
travel along in tower.safetensors.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, PreTrainedConfig, PreTrainedModel
from transformers.configuration_utils import SubConfigSpec

from recsys.errors import CheckpointRefused
from recsys.scorer.digests import TOWER, tensors_digest
from recsys.scorer.photo.connector import Connector, ConnectorShape
from recsys.scorer.photo.published_tower import LITE0_SHA256, PACKAGE, read_published_tower
from recsys.scorer.photo.tower import EfficientNetLite, TowerShape

MODEL_TYPE = "photo"


class PhotoConfig(PreTrainedConfig):
    """Values of config.json.

    Attributes:
        text_config: of the decoder, as the library has it; by default a Mistral.
        tower: of `TowerShape`.
        tower_sha256: `tensors_digest` of the tower's weights.
        connector: of `ConnectorShape`.
    """

    __no_type_check__ = True  # the library's __init__ takes more than its signature tells

    model_type = MODEL_TYPE
    sub_configs_defaults = {"text_config": SubConfigSpec(AutoConfig, model_type="mistral")}  # noqa: RUF012

    text_config: dict[str, Any] | PreTrainedConfig | None = None
    tower: dict[str, Any] | None = None
    tower_sha256: str = LITE0_SHA256
    connector: dict[str, Any] | None = None

    def __post_init__(self, **values: Any) -> None:
        """Fill in what is not given: EfficientNet-Lite0, and the connector's own default."""
        self.tower = self.tower or TowerShape().to_json()
        self.connector = self.connector or ConnectorShape().to_json()
        super().__post_init__(**values)  # type: ignore[no-untyped-call]

    @property
    def tower_shape(self) -> TowerShape:
        """Dimensions of the tower."""
        return TowerShape.from_json(cast(dict[str, Any], self.tower))

    @property
    def connector_shape(self) -> ConnectorShape:
        """What image tokens are made of."""
        return ConnectorShape.from_json(cast(dict[str, Any], self.connector))


AutoConfig.register(MODEL_TYPE, PhotoConfig, exist_ok=True)


class PhotoModel(PreTrainedModel):
    """Tower, connector, text model and output matrix.

    Whoever builds one draws its weights; those of the tower are given by `take_tower`.

    Args:
        config: dimensions.
    """

    config_class = PhotoConfig
    base_model_prefix = ""
    _supports_sdpa = True
    _supports_attention_backend = True
    _keys_to_ignore_on_load_missing = [r"^tower\."]  # noqa: RUF012

    def __init__(self, config: PhotoConfig) -> None:
        super().__init__(config)
        text: Any = config.text_config
        self.tower = EfficientNetLite(config.tower_shape)
        self.connector = Connector(config.connector_shape, config.tower_shape, text.hidden_size)
        self.text_model = AutoModel.from_config(text)
        self.lm_head = nn.Linear(text.hidden_size, text.vocab_size, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]
        self._keys_to_ignore_on_save = {f"tower.{name}" for name in self.tower.state_dict()}

    def get_input_embeddings(self) -> nn.Module:
        """The embeddings of words."""
        return cast(nn.Module, self.text_model.get_input_embeddings())

    def _init_weights(self, module: nn.Module) -> None:
        """Leave weights as they are: the library would draw those that a file does not have."""

    def take_tower(self, folder: Path) -> None:
        """Give the tower its weights, and freeze it: a base names them by their digest.

        Args:
            folder: the base's, in which they may lie.

        Raises:
            PreconditionFailed: if they are those of a package that is not installed.
            CheckpointRefused: if they are found nowhere, damaged or others than the base names.
        """
        self.tower.load_state_dict(read_tower(folder, cast(PhotoConfig, self.config)))
        self.tower.requires_grad_(False)


def read_tower(folder: Path, config: PhotoConfig) -> dict[str, Tensor]:
    """The weights of a base's tower, float32: of the base's folder, else of the package.

    Args:
        folder: the base's.
        config: names them.

    Raises:
        PreconditionFailed, CheckpointRefused: as `PhotoModel.take_tower`.
    """
    wanted = config.tower_sha256
    with torch.device("meta"):
        shapes = EfficientNetLite(config.tower_shape).state_dict()
    if (folder / TOWER).is_file():
        place, weights = str(folder / TOWER), _read_carried(folder / TOWER)
    elif wanted == LITE0_SHA256:
        place, weights = PACKAGE, read_published_tower(list(shapes))
    else:
        raise CheckpointRefused(
            f"base model {folder} needs a vision tower of SHA-256 {wanted[:12]}, which is not that"
            f" of {PACKAGE}: copy its {TOWER} beside its config.json"
        )
    digest = tensors_digest(weights)
    if digest != wanted:
        raise CheckpointRefused(
            f"base model {folder} needs a vision tower of SHA-256 {wanted[:12]}, and {place} has"
            f" {digest[:12]}: give the one that it was trained on"
        )
    if _shapes(weights) != _shapes(shapes):
        raise CheckpointRefused(
            f"base model {folder} must name the dimensions of its vision tower, and config.json"
            " has others: copy the base again"
        )
    return weights


def _read_carried(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointRefused(f"{path} is damaged: {error}: copy it again") from error


def _shapes(weights: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: each.shape for name, each in weights.items()}


def carry_tower(folder: Path) -> None:
    """Write the tower of a base into its folder, where it does not lie there already.

    Raises:
        PreconditionFailed, CheckpointRefused: as `PhotoModel.take_tower`.
    """
    config = PhotoConfig.from_pretrained(str(folder))
    write_tower(read_tower(folder, config), folder)


def write_tower(weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write a tower's weights as `read_tower` reads them."""
    path = folder / TOWER
    if not path.is_file():
        save_file(dict(weights), path)
        path.chmod(0o644)  # the library writes for the owner alone
