"""Every baseline with public weights, by the name that it has in reports."""

from pathlib import Path
from typing import Protocol

import torch

from training.baselines._weights import WeightsMissing
from training.baselines.aesthetic import load_aesthetic
from training.baselines.clip_score import load_clip_score, load_pick_score
from training.baselines.hps import load_hps
from training.baselines.idefics2 import load_idefics2
from training.baselines.image_reward import load_image_reward
from training.baselines.viper import load_viper
from training.data.features import OpenFeatures, ReadImage
from training.predictors.predictor import Predictor

__all__ = ["WEIGHTED", "WeightsMissing", "load_weighted"]


class _LoadTower(Protocol):
    def __call__(self, folder: Path, *, images: ReadImage, device: str) -> Predictor: ...


class _LoadScorer(Protocol):
    def __call__(
        self, folder: Path, *, features: OpenFeatures, device: str, dtype: torch.dtype
    ) -> Predictor: ...


_TOWERS: dict[str, _LoadTower] = {
    "clip_score": load_clip_score,
    "pick_score": load_pick_score,
    "hps_v2": load_hps,
    "laion_aesthetic": load_aesthetic,
    "image_reward": load_image_reward,
}
_SCORERS: dict[str, _LoadScorer] = {"idefics2": load_idefics2, "viper": load_viper}

WEIGHTED = (*_TOWERS, *_SCORERS)
"""Their names, in the order of the report."""


def load_weighted(
    name: str,
    folder: Path,
    *,
    images: ReadImage,
    features: OpenFeatures,
    device: str = "cpu",
    dtype: torch.dtype = torch.float32,
) -> Predictor:
    """Load a baseline over an image table.

    Args:
        name: one of `WEIGHTED`.
        folder: a folder with a folder for each, by name, with the files as their authors publish
            them; `viper` finds its base in that of `idefics2`.
        images: row -> RGB image, for those with a tower of their own.
        features: image tokens by row, for those that encode as our scorer does.
        device: where the model goes.
        dtype: of those on Idefics2; the others, which are small, compute in float32.

    Raises:
        WeightsMissing: naming the files that are not there.
        CheckpointRefused: if a file is damaged or of another architecture.
    """
    if name in _SCORERS:
        return _SCORERS[name](folder / name, features=features, device=device, dtype=dtype)
    return _TOWERS[name](folder / name, images=images, device=device)
