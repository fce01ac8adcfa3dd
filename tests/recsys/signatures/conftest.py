"""A small random scorer, people with references, and probes for everybody."""

from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from recsys.signatures.definition import Projection
from recsys.signatures.probes import Probes, encode_probes

PROMPTS = ("three small fish", "", "a house " * 6)
Person = Callable[[int, int], list[Reference]]


@pytest.fixture
def scorer(model, make_scorer) -> PreferenceScorer:
    return make_scorer(model, num_references=4, num_preference_tokens=3).requires_grad_(False)


@pytest.fixture
def candidates() -> list[CandidateImage]:
    """Probes' images are whole bytes, as stored ones are; their prompts differ in length."""
    generator = torch.Generator().manual_seed(9)
    images = torch.randint(0, 256, (5, 3, 20, 18), generator=generator, dtype=torch.uint8)
    return [
        CandidateImage(each.float() / 255, "word " * place) for place, each in enumerate(images)
    ]


@pytest.fixture
def probes(scorer, candidates) -> Probes:
    return encode_probes(scorer, candidates)


@pytest.fixture
def person() -> Person:
    """Given a seed and a number: so many references of somebody."""

    def references(seed: int, count: int) -> list[Reference]:
        generator = torch.Generator().manual_seed(seed)
        images = [torch.rand(3, 20, 24, generator=generator) for _ in range(2 * count)]
        return [
            Reference(images[2 * i], images[2 * i + 1], PROMPTS[(i + seed) % len(PROMPTS)])
            for i in range(count)
        ]

    return references


@pytest.fixture
def projection() -> Callable[..., Projection]:
    """Given what it reads: a random projection of so many numbers to three."""

    def make(width: int, heads: Sequence[tuple[int, int]] = ()) -> Projection:
        rng = np.random.default_rng(4)
        return Projection(
            rng.normal(size=width) * 0.1,
            rng.uniform(0.5, 2.0, size=width),
            rng.normal(size=(width, 3)),
            heads=tuple(heads),
        )

    return make
