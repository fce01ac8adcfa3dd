"""LAION's aesthetic predictor: a linear stack on CLIP's view of an image.  Schuhmann, 2022."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from training.baselines.clip_towers import ClipTowers, load_towers
from training.baselines.weights import fill, read_torch_file, require
from training.data.features import ReadImage
from training.data.samples import Pair
from training.evaluation.predictors import CandidateRow, Scores

HEAD_FILE = "sac+logos+ava1-l14-linearMSE.pth"


def scoring_head(width: int) -> nn.Sequential:
    """Vector -> score, through 1024, 128, 64 and 16 without an activation.

    Dropout does nothing after training, but gives the layers the places (0, 2, 4, 6, 7) by which
    the published weights name them. ImageReward's head has the same shape.

    Args:
        width: of the vector, at least 1.
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
    """A number for an image alone: neither prompt nor user changes it.

    Args:
        towers: CLIP's, of which only the images' is used.
        head: unit vector (N, E) -> score (N, 1).
    """

    def __init__(self, towers: ClipTowers, head: nn.Module) -> None:
        self.name = "laion_aesthetic"
        self._towers = towers
        self._head = head

    @torch.no_grad()
    def scores(
        self, user_id: str, references: Sequence[Pair], candidates: Sequence[CandidateRow]
    ) -> Scores:
        """How beautiful each image is, on a scale of about 1 to 10; nothing else is read."""
        if not candidates:
            return np.zeros(0)
        vectors = self._towers.images([candidate.row for candidate in candidates])
        found: Float[Tensor, " C"] = self._head(vectors)[:, 0]
        scores: Scores = found.double().cpu().numpy()
        return scores


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
