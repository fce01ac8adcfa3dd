"""Scores by the cosine between a prompt and an image: CLIP score and PickScore."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from recsys.history import Pair
from training.baselines._clip_towers import ClipTowers, load_towers
from training.data.features import ReadImage
from training.predictors.predictor import CandidateRow, Scores


class PromptSimilarity:
    """The cosine of prompt and image, scaled: the same for every user.

    Args:
        name: as it stands in reports.
        towers: embed both.
        scale: by which the cosine is multiplied, above 0.
    """

    def __init__(self, name: str, towers: ClipTowers, *, scale: float) -> None:
        self.name = name
        self._towers = towers
        self._scale = scale

    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """How well each image fits its own prompt, in [-scale, scale]; references are not read."""
        if not candidates:
            return np.zeros(0)
        images = self._towers.images([candidate.row for candidate in candidates])
        prompts = self._towers.prompts([candidate.prompt for candidate in candidates])
        cosines = (images.double() * prompts.double()).sum(dim=-1)
        return np.asarray((self._scale * cosines).cpu())


def load_clip_score(folder: Path, *, images: ReadImage, device: str = "cpu") -> PromptSimilarity:
    """CLIP score: 100 · cos, not cut at 0.  Hessel et al., 2021, with CLIP's own scale.

    Args:
        folder: a copy of openai/clip-vit-large-patch14, or of any CLIP in transformers' layout.
        images: row -> RGB image.
        device: where the model goes.

    Raises:
        WeightsMissing: naming the files that are not there.
        CheckpointRefused: if a file is damaged.
    """
    source = "the hub's openai/clip-vit-large-patch14"
    towers = load_towers(folder, images=images, device=device, source=source)
    return PromptSimilarity("clip_score", towers, scale=100.0)


def load_pick_score(folder: Path, *, images: ReadImage, device: str = "cpu") -> PromptSimilarity:
    """PickScore: exp(logit_scale) · cos by a CLIP-H tuned on Pick-a-Pic.  Kirstain et al., 2023.

    Args:
        folder: a copy of yuvalkirstain/PickScore_v1.
        images: row -> RGB image.
        device: where the model goes.

    Raises:
        WeightsMissing: naming the files that are not there.
        CheckpointRefused: if a file is damaged.
    """
    source = "the hub's yuvalkirstain/PickScore_v1"
    towers = load_towers(folder, images=images, device=device, source=source)
    return PromptSimilarity("pick_score", towers, scale=towers.temperature)
