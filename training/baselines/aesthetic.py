"""LAION's aesthetic predictor: a linear stack on CLIP's embedding of an image.  Schuhmann, 2022."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import nn

from recsys.history import Pair
from training.baselines._clip_towers import ClipTowers, load_towers
from training.baselines._weights import fill, read_torch_file, require
from training.data.features import ReadImage
from training.predictors.predictor import CandidateRow, Scores

HEAD_FILE = "sac+logos+ava1-l14-linearMSE.pth"


def scoring_head(width: int) -> nn.Sequential:
    """Embedding -> score, through 1024, 128, 64 and 16 numbers without an activation.

    Dropout does nothing after training, but puts the layers at the indices (0, 2, 4, 6, 7) by
    which the published weights name them. ImageReward's head has the same shape.

    Args:
        width: of the embedding, at least 1.
    """
    head = nn.Sequential(
        nn.Linear(width, 1024),
        nn.Dropout(0.2),
        nn.Linear(1024, 128),
        nn.Dropout(0.2),
        nn.Linear(128, 64),
        nn.Dropout(0.1),
        nn.Linear(64, 16),
        nn.Linear(16, 1),
    )
    return head.eval().requires_grad_(False)


class LaionAesthetic:
    """A score of the image alone: neither prompt nor user changes it.

    Args:
        towers: CLIP's, of which only the vision tower is used.
        head: unit vectors (N, E) -> scores (N, 1).
    """

    def __init__(self, towers: ClipTowers, head: nn.Module) -> None:
        self.name = "laion_aesthetic"
        self._towers = towers
        self._head = head

    @torch.no_grad()
    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """The aesthetic score of each image, about 1 to 10; nothing else is read."""
        if not candidates:
            return np.zeros(0)
        vectors = self._towers.images([candidate.row for candidate in candidates])
        return np.asarray(self._head(vectors)[:, 0].double().cpu())


def load_aesthetic(folder: Path, *, images: ReadImage, device: str = "cpu") -> LaionAesthetic:
    """Read CLIP-L/14 and the head on it.

    Args:
        folder: a copy of openai/clip-vit-large-patch14, and beside its files the head's weights.
        images: row -> RGB image.
        device: where the model goes.

    Raises:
        WeightsMissing: naming the files that are not there.
        CheckpointRefused: if a file is damaged, or the two do not fit each other.
    """
    path = folder / HEAD_FILE
    require(folder, [HEAD_FILE], source="christophschuhmann/improved-aesthetic-predictor")
    state = read_torch_file(path)
    source = "the hub's openai/clip-vit-large-patch14"
    towers = load_towers(folder, images=images, device=device, source=source)
    head = scoring_head(towers.width)
    fill(head, {name.removeprefix("layers."): tensor for name, tensor in state.items()}, path=path)
    return LaionAesthetic(towers, head.to(device))
