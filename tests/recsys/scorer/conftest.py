"""A small random scorer, and images for it."""

import pytest
import torch

from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference


@pytest.fixture
def scorer(model, make_scorer) -> PreferenceScorer:
    return make_scorer(model, num_references=4, num_preference_tokens=3, max_packed_candidates=4)


def image(seed: int, height: int = 20, width: int = 24) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def references() -> list[Reference]:
    prompts = ["three small fish", "", "a house " * 40]
    return [Reference(image(2 * i), image(2 * i + 1), prompt) for i, prompt in enumerate(prompts)]


@pytest.fixture
def candidates() -> list[CandidateImage]:
    return [CandidateImage(image(100 + i, 16 + i), "word " * i) for i in range(7)]
