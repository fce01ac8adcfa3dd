"""Every baseline with public weights, by the name that it has in reports."""

from pathlib import Path
from typing import Protocol

from training.baselines._weights import WeightsMissing
from training.baselines.aesthetic import load_aesthetic
from training.baselines.clip_score import load_clip_score, load_pick_score
from training.baselines.hps import load_hps
from training.baselines.idefics2 import load_idefics2
from training.baselines.image_reward import load_image_reward
from training.baselines.viper import load_viper
from training.data.features import ReadImage
from training.predictors.predictor import Predictor

__all__ = ["WEIGHTED", "Loader", "WeightsMissing"]


class Loader(Protocol):
    """Loads a baseline from a folder with its public weights."""

    def __call__(self, folder: Path, *, images: ReadImage, device: str = "cpu") -> Predictor:
        """A predictor over an image table.

        Args:
            folder: with the files as their authors publish them.
            images: row -> RGB image.
            device: where the model goes.

        Raises:
            WeightsMissing: naming the files that are not there.
            CheckpointRefused: if a file is damaged or of another architecture.
        """
        ...


WEIGHTED: dict[str, Loader] = {
    "clip_score": load_clip_score,
    "pick_score": load_pick_score,
    "hps_v2": load_hps,
    "laion_aesthetic": load_aesthetic,
    "image_reward": load_image_reward,
    "idefics2": load_idefics2,
    "viper": load_viper,
}
"""Loaders by name. Each reads a folder of that name; `viper` finds its base in the folder
`idefics2` beside its own."""
