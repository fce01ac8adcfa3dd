"""CLIP's two towers: images by row and prompts -> unit vectors in one space.

Radford et al., 2021. CLIP score, PickScore, HPSv2 and the LAION aesthetic predictor use them.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from transformers import CLIPModel, CLIPTokenizer

from recsys.errors import CheckpointRefused
from training.baselines._embeddings import ENCODE_AT_ONCE, PromptEmbeddings
from training.baselines._pixels import ChannelScale, Prepare, crop_middle, stack
from training.baselines._weights import read_json, require, require_model
from training.data.features import ImageEmbeddings, ReadImage


class ClipTowers:
    """A CLIP model over an image table.

    Args:
        model: with frozen weights, in place.
        tokenizer: the model's.
        prepare: image -> the vision tower's input.
        images: row -> RGB image.

    Raises:
        CheckpointRefused: if the tokenizer belongs to another model.
    """

    def __init__(
        self, model: CLIPModel, tokenizer: CLIPTokenizer, *, prepare: Prepare, images: ReadImage
    ) -> None:
        config: Any = model.config
        known, expected = len(tokenizer), int(config.text_config.vocab_size)
        if known != expected:
            raise CheckpointRefused(
                f"the tokenizer must know the model's {expected} tokens, got {known}: "
                "copy the one that was published with it"
            )
        self._model = model.eval().requires_grad_(False)
        self._tokenizer = tokenizer
        self._prepare = prepare
        self._images = ImageEmbeddings(self._encode_images, images, at_once=ENCODE_AT_ONCE)
        self._prompts = PromptEmbeddings(self._encode_prompt)

    @property
    def width(self) -> int:
        """E, length of a vector."""
        return int(self._model.config.projection_dim)

    @property
    def temperature(self) -> float:
        """The factor of the cosines before CLIP's softmax: exp(logit_scale)."""
        return float(self._model.logit_scale.exp())

    def images(self, rows: Sequence[int]) -> Float[Tensor, "N E"]:
        """Unit vectors of images, at least one."""
        return self._images(rows)

    def prompts(self, prompts: Sequence[str]) -> Float[Tensor, "N E"]:
        """Unit vectors of prompts, at least one; those beyond the tower's length are truncated."""
        return self._prompts(prompts)

    def _encode_images(self, images: list[Tensor]) -> Tensor:
        pixels = stack(images, self._prepare).to(self._model.device)
        output: Any = self._model.get_image_features(pixel_values=pixels)
        return F.normalize(cast(Tensor, output.pooler_output), dim=-1)

    def _encode_prompt(self, prompt: str) -> Tensor:
        # Causal attention read at the end token: padding behind it would change nothing.
        encoded = self._tokenizer(
            prompt,
            truncation=True,
            max_length=self._model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        )
        output: Any = self._model.get_text_features(
            input_ids=encoded["input_ids"].to(self._model.device)
        )
        return F.normalize(cast(Tensor, output.pooler_output), dim=-1)[0]


def load_towers(folder: Path, *, images: ReadImage, device: str, source: str) -> ClipTowers:
    """Read a CLIP repository: config, weights, tokenizer, and how images are prepared.

    Args:
        folder: a copy of the repository; weights in safetensors.
        images: row -> RGB image.
        device: where the model goes.
        source: who publishes it; for messages.

    Raises:
        WeightsMissing: naming the files that are not there.
        CheckpointRefused: if a file is damaged or of another architecture.
    """
    require_model(folder, ["preprocessor_config.json"], source=source)
    tokenizer = load_clip_tokenizer(folder, source=source)
    scale = _channel_scale(folder / "preprocessor_config.json")
    model = _load_model(folder).to(device)  # type: ignore[arg-type]
    side_px = int(model.config.vision_config.image_size)
    return ClipTowers(
        model,
        tokenizer,
        prepare=lambda image: scale(crop_middle(image, side_px)),
        images=images,
    )


def load_clip_tokenizer(folder: Path, *, source: str) -> CLIPTokenizer:
    """CLIP's tokenizer from `tokenizer.json`.

    Raises:
        WeightsMissing: if it is not there.
        CheckpointRefused: if it is damaged.
    """
    require(folder, ["tokenizer.json"], source=source)
    try:
        return cast(CLIPTokenizer, CLIPTokenizer.from_pretrained(str(folder)))
    except Exception as error:
        # The library and its parser each raise their own kinds here.
        raise CheckpointRefused(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error


def _load_model(folder: Path) -> CLIPModel:
    try:
        # With the report, the library returns a pair.
        loaded: Any = CLIPModel.from_pretrained(
            str(folder), use_safetensors=True, local_files_only=True, output_loading_info=True
        )
    except Exception as error:
        # The library, its checks of the config and safetensors each raise their own kinds here.
        raise CheckpointRefused(f"{folder} must hold a readable CLIP: {error}") from error
    model, report = loaded
    if report["missing_keys"]:
        # The library would initialise them at random and go on.
        raise CheckpointRefused(
            f"{folder} must hold all weights of a CLIP, and lacks {sorted(report['missing_keys'])}"
        )
    return cast(CLIPModel, model)


def _channel_scale(path: Path) -> ChannelScale:
    config = read_json(path)
    try:
        mean = tuple(float(value) for value in config["image_mean"])
        std = tuple(float(value) for value in config["image_std"])
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointRefused(f"{path} must tell image_mean and image_std: {error!r}") from error
    return ChannelScale(mean, std)
