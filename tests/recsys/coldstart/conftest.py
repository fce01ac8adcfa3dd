"""A small random scorer, people with random pairs, and something learned to be borrowed."""

from collections.abc import Callable

import numpy as np
import pytest
import torch

from recsys.coldstart.latent_classes import LatentClasses
from recsys.coldstart.population import ColdStart
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference

WIDTH = 64  # numbers in the tokens of an image: 2 latents of 32
NUM_FEATURES = 5
NUM_CLASSES = 3


@pytest.fixture(scope="session")
def scorer(make_scorer) -> PreferenceScorer:
    made = make_scorer(
        num_references=3, num_preference_tokens=3, max_packed_candidates=4, temperature=1.7
    )
    return made.requires_grad_(False)


def drawn_image(seed: int) -> torch.Tensor:
    shade = torch.rand(3, 1, 1, generator=torch.Generator().manual_seed(seed))
    noise = torch.rand(3, 20, 18, generator=torch.Generator().manual_seed(seed + 10_000))
    return (shade + noise) / 2


@pytest.fixture
def references() -> list[Reference]:
    prompts = ["three small fish", "", "a house " * 6]
    return [
        Reference(drawn_image(2 * n), drawn_image(2 * n + 1), prompt)
        for n, prompt in enumerate(prompts)
    ]


@pytest.fixture
def candidates() -> list[CandidateImage]:
    return [CandidateImage(drawn_image(100 + n), "word " * n) for n in range(7)]


@pytest.fixture
def make_cold_start() -> Callable[..., ColdStart]:
    """Something learned, by a random hand; `blends` are its weights by number of references."""

    def make(*blends: tuple[float, float, float], width: int = WIDTH) -> ColdStart:
        rng = np.random.default_rng(7)
        classes = LatentClasses(
            rng.normal(0, 1, (NUM_CLASSES, NUM_FEATURES)),
            np.array([0.5, 0.3, 0.2]),
            np.array([10.0, 6.0, 4.0]),
            np.array([100.0, 30.0, 20.0]),
        )
        components = rng.normal(0, 0.3, (width, NUM_FEATURES))
        return ColdStart(rng.normal(0, 0.1, width), components, classes, np.array(blends))

    return make
