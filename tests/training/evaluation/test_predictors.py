"""Our scorer behind the protocol, its features, and a look inside, on a small random scorer."""

import threading
import time

import numpy as np
import pytest
import torch

from recsys.errors import ImageRefused
from recsys.history import Pair
from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from training.data.features import ImageFeatures
from training.data.samples import PairTable, Sample
from training.evaluation.asked import Asked
from training.predictors.predictor import (
    BatchPredictor,
    CandidateRow,
    Predictor,
    Question,
    ask_all,
    at_most,
)
from training.predictors.scorer import MOST_BATCH_USERS, Averaged, ScorerPredictor, batch_size

REFERENCES = (Pair(0, 1, "a fish"), Pair(2, 3, "two fish"), Pair(4, 5, ""))
ASKED = [CandidateRow(6, "a fish"), CandidateRow(7, "a fish"), CandidateRow(8, "")]


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    return make_scorer(num_references=3, num_preference_tokens=4)


def picture(row: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(row)
    return torch.randint(0, 256, (3, 20, 20), generator=generator, dtype=torch.uint8)


@pytest.fixture
def features(scorer) -> ImageFeatures:
    return ImageFeatures(scorer, picture)


def test_its_numbers_are_the_logits_of_the_served_scores(scorer, features) -> None:
    ours = ScorerPredictor(scorer, features)
    assert isinstance(ours, Predictor)
    references = [
        Reference(picture(p.liked) / 255, picture(p.disliked) / 255, p.prompt) for p in REFERENCES
    ]
    targets = [CandidateImage(picture(c.row) / 255, c.prompt) for c in ASKED]
    served = scorer.score(scorer.prefix(references), targets)
    scores = torch.sigmoid(torch.from_numpy(ours.scores("u", REFERENCES, ASKED)))
    torch.testing.assert_close(scores.float(), served, rtol=1e-5, atol=1e-5)


def test_of_more_references_than_it_was_trained_with_it_reads_what_is_served() -> None:
    # Two choices of two pairs each: every choice gives one before any gives a second.
    more = tuple(Pair(2 * n, 2 * n + 1, "", choice=n // 2, nth=n % 2) for n in range(4))
    assert at_most(more, 2) == (more[0], more[2])
    assert at_most(more[::-1], 4) == more[::-1]
    assert at_most(more, 0) == ()


def test_more_references_than_it_was_trained_with_are_cut_to_the_newest(scorer, features) -> None:
    ours = ScorerPredictor(scorer, features)
    more = (Pair(20, 21, "old"), *REFERENCES)
    np.testing.assert_array_equal(
        ours.scores("u", more, ASKED), ours.scores("u", REFERENCES, ASKED)
    )


def test_no_candidates_and_no_references_are_no_error(scorer, features) -> None:
    ours = ScorerPredictor(scorer, features)
    assert ours.scores("u", REFERENCES, []).shape == (0,)
    assert ours.scores("u", (), ASKED).shape == (3,)


def test_averaging_begins_with_the_order_given(scorer, features) -> None:
    ours = ScorerPredictor(scorer, features)
    averaged = Averaged(ours, num_orders=4, seed=0)
    orders = averaged.each_order("u", REFERENCES, ASKED)
    assert orders.shape == (4, 3)
    np.testing.assert_array_equal(orders[0], ours.scores("u", REFERENCES, ASKED))
    np.testing.assert_allclose(averaged.scores("u", REFERENCES, ASKED), orders.mean(axis=0))


def test_users_who_share_passes_are_answered_as_alone(scorer, features) -> None:
    questions = [
        Question("a", REFERENCES, ASKED),
        Question("b", REFERENCES[:1], ASKED[:1]),
        Question("c", (), ASKED),
        Question("d", (Pair(20, 21, "old"), *REFERENCES), []),
    ]
    alone = ScorerPredictor(scorer, features)
    together = ScorerPredictor(scorer, features, batch_users=3)
    assert isinstance(together, BatchPredictor)
    for answer, question in zip(ask_all(together, questions), questions, strict=True):
        expected = alone.scores(question.user_id, question.references, question.candidates)
        np.testing.assert_allclose(answer, expected, rtol=0, atol=1e-5)


def test_as_many_users_share_a_pass_as_are_asked_for_or_fit_the_device(scorer, monkeypatch) -> None:
    assert batch_size(scorer) == 1
    assert batch_size(scorer, 5) == 5
    free = {"cuda": 40 * scorer.max_prefix_bytes}
    monkeypatch.setattr("training.predictors.scorer.free_memory_bytes", free.__getitem__)
    monkeypatch.setattr(Idefics2Backbone, "device", torch.device("cuda"))
    assert batch_size(scorer) == 10
    free["cuda"] = 0
    assert batch_size(scorer) == 1
    free["cuda"] = 2**50
    assert batch_size(scorer) == MOST_BATCH_USERS


def test_features_are_encoded_once_and_forgotten_when_there_is_no_room(scorer) -> None:
    asked: list[int] = []

    def read(row: int) -> torch.Tensor:
        asked.append(row)
        return picture(row)

    features = ImageFeatures(scorer, read)
    first = features([1, 2, 1])
    torch.testing.assert_close(features([2, 1])[1], first[0])
    assert sorted(asked) == [1, 2]
    assert features([]).shape == (0, 2, 32)
    narrow = ImageFeatures(scorer, read, most_bytes=1)
    torch.testing.assert_close(narrow([1, 2]), first[:2])
    assert sorted(asked) == [1, 1, 2, 2]


def test_images_are_read_by_several_at_once_in_the_order_of_their_rows(scorer) -> None:
    both = threading.Barrier(2, timeout=10)

    def read(row: int) -> torch.Tensor:
        both.wait()  # nobody comes by here alone
        time.sleep(0.05 * (row == 3))
        return picture(row)

    alone = ImageFeatures(scorer, picture)
    torch.testing.assert_close(ImageFeatures(scorer, read)([3, 8]), alone([3, 8]))


def test_an_image_that_cannot_be_read_is_told(scorer) -> None:
    def read(row: int) -> torch.Tensor:
        raise ImageRefused(f"row {row} is damaged")

    with pytest.raises(ImageRefused, match="row 5 is damaged"):
        ImageFeatures(scorer, read)([5])


def asked_of(unseen: dict[str, Sample]) -> Asked:
    return Asked(PairTable({}, ()), unseen, {}, num_overlapping=0, is_certain=True)
