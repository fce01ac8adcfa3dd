"""Pictures of noise, and what the scorer of a test's own module sees in them."""

from collections.abc import Callable

import pytest
import torch

from recsys.scorer.model import PreferenceScorer
from training.data.features import ImageFeatures


@pytest.fixture(scope="session")
def picture() -> Callable[[int], torch.Tensor]:
    """Given a row: its picture, the same each time."""

    def drawn(row: int) -> torch.Tensor:
        generator = torch.Generator().manual_seed(row)
        return torch.randint(0, 256, (3, 20, 20), generator=generator, dtype=torch.uint8)

    return drawn


@pytest.fixture(scope="module")
def features(scorer: PreferenceScorer, picture: Callable[[int], torch.Tensor]) -> ImageFeatures:
    """Image tokens of pictures by the module's `scorer`."""
    return ImageFeatures(scorer, picture)
