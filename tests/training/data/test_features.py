"""Image tokens that are kept are those of the pixels that the service decodes."""

import io
import weakref
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from recsys.history import ReferencePair
from recsys.images.decode import ImageLimits
from recsys.images.preprocess import ImageGeometry
from recsys.images.reader import ImageReader
from recsys.scorer.model import CandidateImage, PreferenceScorer
from recsys.scorer.references import read_references
from storage.histories import HistoryStore
from training.data.encoding import Fresh, encode_all
from training.data.features import ImageEmbeddings, ImageFeatures, stored_images

LIMITS = ImageLimits()
SIZES = [(16, 16), (40, 90), (130, 50), (9, 9), (16, 33), (64, 64)]
PROMPTS = ("a fish", "two fish", "")


@pytest.fixture
def names(sqlite_store: HistoryStore) -> tuple[str, ...]:
    """Images of many sizes, of two formats."""
    rng = np.random.default_rng(0)
    stored = []
    for number, (height, width) in enumerate(SIZES):
        file = io.BytesIO()
        noise = rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
        Image.fromarray(noise).save(file, ("PNG", "JPEG")[number % 2])
        stored.append(sqlite_store.blobs.put(file.getvalue()))
    return tuple(stored)


@pytest.fixture(
    params=[ImageGeometry(square_px=16), ImageGeometry(8, 24)], ids=["square", "any shape"]
)
def scorer(request, make_scorer) -> PreferenceScorer:
    return make_scorer(
        geometry=request.param, num_references=2, num_preference_tokens=3, temperature=2.0
    )


def kept_tokens(way: str, scorer: PreferenceScorer, store: HistoryStore, names: tuple[str, ...]):
    """Rows -> image tokens, in one of the ways in which training and evaluation keep them."""
    if way == "kept":
        return ImageFeatures(scorer, stored_images(store, names, limits=LIMITS))
    if way == "fresh":
        return Fresh(scorer, store, names, limits=LIMITS).rows
    console = Console(file=io.StringIO())
    return encode_all(scorer, store, names, range(len(names)), limits=LIMITS, console=console).rows


@pytest.mark.parametrize("way", ["kept", "fresh", "once"])
def test_kept_tokens_score_as_the_pixels_that_are_served(
    way: str, scorer: PreferenceScorer, sqlite_store: HistoryStore, names: tuple[str, ...]
) -> None:
    """The seam: above it serving and evaluation call one function, with tokens of either origin."""
    features = kept_tokens(way, scorer, sqlite_store, names)
    reader = ImageReader(sqlite_store, LIMITS, scorer.geometry)
    pairs = [ReferencePair(names[n], names[n + 1], PROMPTS[n]) for n in (0, 2)]
    with ThreadPoolExecutor(2) as threads:
        references = read_references(pairs, reader, threads)
    candidates = [CandidateImage(reader.read(names[row]), PROMPTS[row % 3]) for row in (4, 5)]
    images = [image for each in references for image in (each.liked, each.disliked)]
    served = scorer.image_features([*images, *(each.image for each in candidates)])
    torch.testing.assert_close(features(range(6)), served, rtol=0, atol=1e-6)

    behind_pixels = scorer.score(scorer.prefix(references), candidates)
    prefix = scorer.prefix_of([pair.prompt for pair in pairs], features(range(4)))
    prompts = [each.prompt for each in candidates]
    behind_tokens = scorer.score_of(prefix, prompts, features([4, 5]))
    torch.testing.assert_close(behind_tokens, behind_pixels, rtol=0, atol=1e-6)
    margins = scorer.margins_of(prefix, prompts, features([4, 5]))
    torch.testing.assert_close(torch.sigmoid(margins / 2.0).float(), behind_pixels)


def test_what_is_kept_of_a_row_keeps_no_others_alive() -> None:
    """Else the count of bytes by which rows are forgotten would be short by those encoded along."""
    chunks = []

    def encode(images: list[torch.Tensor]) -> torch.Tensor:
        encoded = torch.stack(images)
        chunks.append(weakref.ref(encoded.untyped_storage()))
        return encoded

    embeddings = ImageEmbeddings(encode, lambda row: torch.full((3, 2, 2), row / 8), at_once=4)
    expected = torch.tensor([6, 0, 6]) / 8
    assert torch.equal(embeddings([6, 0, 6])[:, 0, 0, 0], expected)
    assert torch.equal(embeddings(range(7))[:, 0, 0, 0], torch.arange(7) / 8)
    assert len(chunks) == 3
    assert [chunk() for chunk in chunks] == [None] * 3
