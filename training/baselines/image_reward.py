"""ImageReward: BLIP reads the prompt with cross-attention to the image; a head scores the result.

Xu et al., 2023.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from transformers import BertTokenizer, BlipTextModel, BlipVisionModel

from recsys.errors import CheckpointRefused
from recsys.history import Pair
from training.baselines._blip_names import (
    text_config,
    text_to_transformers,
    under,
    vision_config,
    vision_to_transformers,
)
from training.baselines._embeddings import ENCODE_AT_ONCE
from training.baselines._pixels import CLIP_SCALE, crop_middle, stack
from training.baselines._weights import fill, read_json, read_torch_file, require
from training.baselines.aesthetic import scoring_head
from training.data.features import ImageEmbeddings, ReadImage
from training.predictors.predictor import CandidateRow, Scores

WEIGHTS_FILE, CONFIG_FILE, VOCABULARY_FILE = "ImageReward.pt", "med_config.json", "vocab.txt"

MAX_TOKENS = 35

# Of the authors' own validation images, over which rewards have mean 0 and standard deviation 1.
MEAN = 0.16717362830052426
STD = 1.0333394966054072


class ImageReward:
    """(head([CLS] of the prompt, with cross-attention to the image) - mean) / std, for every user.

    Args:
        vision: image -> a state for each patch.
        text: prompt and those states -> a state for each token.
        head: [CLS] (N, D) -> reward (N, 1).
        tokenizer: BERT's, uncased.
        images: row -> RGB image.
    """

    def __init__(
        self,
        vision: BlipVisionModel,
        text: BlipTextModel,
        *,
        head: nn.Module,
        tokenizer: BertTokenizer,
        images: ReadImage,
    ) -> None:
        self.name = "image_reward"
        self._vision = vision.eval().requires_grad_(False)
        self._text = text.eval().requires_grad_(False)
        self._head = head
        self._tokenizer = tokenizer
        self._images = ImageEmbeddings(self._encode_images, images, at_once=ENCODE_AT_ONCE)

    @torch.no_grad()
    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """The reward of each image for its own prompt; references are not read."""
        rewards = np.zeros(len(candidates))
        for prompt in dict.fromkeys(candidate.prompt for candidate in candidates):
            places = [i for i, candidate in enumerate(candidates) if candidate.prompt == prompt]
            for start in range(0, len(places), ENCODE_AT_ONCE):
                chunk = places[start : start + ENCODE_AT_ONCE]
                rows = [candidates[place].row for place in chunk]
                rewards[chunk] = self._rewards(prompt, rows).double().cpu().numpy()
        return rewards

    def _rewards(self, prompt: str, rows: Sequence[int]) -> Float[Tensor, " N"]:
        encoded = self._tokenizer(
            prompt, truncation=True, max_length=MAX_TOKENS, return_tensors="pt"
        )
        ids = encoded["input_ids"].to(self._text.device).expand(len(rows), -1)
        output: Any = self._text(input_ids=ids, encoder_hidden_states=self._images(rows))
        first = cast(Tensor, output.last_hidden_state)[:, 0]  # (N, D)
        return (cast(Tensor, self._head(first))[:, 0] - MEAN) / STD

    def _encode_images(self, images: list[Tensor]) -> Tensor:
        side_px = int(self._vision.config.image_size)
        pixels = stack(images, lambda image: CLIP_SCALE(crop_middle(image, side_px)))
        output: Any = self._vision(pixel_values=pixels.to(self._vision.device))
        return cast(Tensor, output.last_hidden_state)


def load_image_reward(folder: Path, *, images: ReadImage, device: str = "cpu") -> ImageReward:
    """Read the authors' weights.

    Args:
        folder: with the two files of THUDM/ImageReward, and the vocab.txt of
            google-bert/bert-base-uncased, which the authors take from the hub.
        images: row -> RGB image.
        device: where the model goes.

    Raises:
        WeightsMissing: naming the files that are not there.
        CheckpointRefused: if a file is damaged or of another architecture.
    """
    require(folder, [WEIGHTS_FILE, CONFIG_FILE], source="the hub's THUDM/ImageReward")
    require(folder, [VOCABULARY_FILE], source="the hub's google-bert/bert-base-uncased")
    path, med = folder / WEIGHTS_FILE, read_json(folder / CONFIG_FILE)
    state = read_torch_file(path)
    try:
        vision, text = _load_towers(state, med, path=path)
    except (KeyError, ValueError) as error:
        raise CheckpointRefused(f"{path} and {CONFIG_FILE} must be a BLIP: {error!r}") from error
    head = scoring_head(text.config.hidden_size)
    fill(head, under(state, "mlp.layers."), path=path)
    return ImageReward(
        vision.to(device),  # type: ignore[arg-type]
        text.to(device),  # type: ignore[arg-type]
        head=head.to(device),
        tokenizer=_load_tokenizer(folder / VOCABULARY_FILE, most=text.config.vocab_size),
        images=images,
    )


def _load_tokenizer(path: Path, *, most: int) -> BertTokenizer:
    """Words by line; special tokens that are missing the library would add as new words."""
    words = path.read_text("utf-8").splitlines()
    if len(words) > most or not {"[PAD]", "[UNK]", "[CLS]", "[SEP]"} <= set(words):
        raise CheckpointRefused(
            f"{path} must be BERT's vocabulary of at most {most} words, got {len(words)}: "
            "copy it again"
        )
    return cast(BertTokenizer, BertTokenizer.from_pretrained(str(path.parent)))


def _load_towers(
    state: dict[str, Tensor], med: dict[str, Any], *, path: Path
) -> tuple[BlipVisionModel, BlipTextModel]:
    """The file's other weights (projections for BLIP's own training) are not needed to score."""
    vision_state = under(state, "blip.visual_encoder.")
    text_state = text_to_transformers(under(state, "blip.text_encoder."))
    vision = BlipVisionModel(vision_config(vision_state))
    text = BlipTextModel(text_config(med, text_state), add_pooling_layer=False)
    fill(vision, vision_to_transformers(vision_state), path=path)
    fill(text, text_state, path=path)
    return vision, text
