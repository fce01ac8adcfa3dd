"""Our scorer behind the protocol, its features, and a look inside, on a small random scorer."""

import numpy as np
import pytest
import torch

from recsys.scorer.idefics2 import Idefics2Backbone, image_markup
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference, ScorerConfig
from recsys.scorer.template import Template, TemplateConfig
from training.data.features import ImageFeatures
from training.data.samples import Pair, Sample
from training.evaluation.interpretation import attention_block, attention_maps, nearest_words
from training.evaluation.predictors import CandidateRow, Predictor
from training.evaluation.scorer_predictor import Averaged, ScorerPredictor
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer
from training.world.render import encode_jpeg

SHAPE = TinyShape(
    image_px=16, vision_width=16, vision_layers=1, num_latents=2, width=32, layers=2, mlp_width=32
)
REFERENCES = (Pair(0, 1, "a fish"), Pair(2, 3, "two fish"), Pair(4, 5, ""))
ASKED = [CandidateRow(6, "a fish"), CandidateRow(7, "a fish"), CandidateRow(8, "")]


@pytest.fixture(scope="module")
def scorer() -> PreferenceScorer:
    tokenizer = train_tokenizer(["a fish", "two fish"], vocabulary=400)
    image = tokenizer.convert_tokens_to_ids("<image>")
    model = build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=0)
    template = Template(tokenizer, TemplateConfig(), image=image_markup(SHAPE.num_latents))
    config = ScorerConfig(num_references=3, num_preference_tokens=4)
    made = PreferenceScorer(
        Idefics2Backbone(model), template, geometry=SHAPE.geometry, config=config
    )
    return made.eval().requires_grad_(False)


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
    found = torch.sigmoid(torch.from_numpy(ours.scores("u", REFERENCES, ASKED)))
    torch.testing.assert_close(found.float(), served, rtol=1e-5, atol=1e-5)


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


def test_features_are_encoded_once_and_forgotten_when_there_is_no_room(scorer) -> None:
    asked: list[int] = []

    def read(row: int) -> torch.Tensor:
        asked.append(row)
        return picture(row)

    features = ImageFeatures(scorer, read)
    first = features([1, 2, 1])
    torch.testing.assert_close(features([2, 1])[1], first[0])
    assert asked == [1, 2]
    assert features([]).shape == (0, 2, 32)
    narrow = ImageFeatures(scorer, read, most_bytes=1)
    torch.testing.assert_close(narrow([1, 2]), first[:2])
    assert asked == [1, 2, 1, 2]


def test_a_word_that_a_token_is_made_of_is_its_nearest(scorer) -> None:
    words = [f"w{n}" if n % 2 else "" for n in range(300)]
    table = scorer.backbone.embed(torch.arange(300))
    before = scorer.preference_tokens.clone()
    with torch.no_grad():
        scorer.preference_tokens[1] = table[41]
    found = nearest_words(scorer, words, num_words=3)
    with torch.no_grad():
        scorer.preference_tokens.copy_(before)
    assert [each["token"] for each in found] == [0, 1, 2, 3]
    assert found[1]["words"][0] == ["w41", pytest.approx(0.0, abs=1e-3)]
    distances = [distance for _, distance in found[0]["words"]]
    assert distances == sorted(distances)
    assert all(word for each in found for word, _ in each["words"])


def test_attention_maps_have_a_row_an_order_that_sums_to_one(scorer, features) -> None:
    samples = {"a": Sample(REFERENCES, (Pair(6, 7, ""),)), "b": Sample((), (Pair(6, 7, ""),))}
    maps = attention_maps(scorer, features, samples, ASKED[0], num_orders=3)
    assert maps["a"].shape == (3, 4)
    np.testing.assert_allclose(maps["a"].sum(axis=1), 1.0, rtol=1e-5)
    # Without references there is no order to change.
    np.testing.assert_array_equal(maps["b"][0], maps["b"][2])
    assert not np.allclose(maps["a"][0], maps["b"][0])


def test_the_reports_block_shows_the_first_users_first_target(scorer, features) -> None:
    samples = {"a": Sample(REFERENCES, (Pair(6, 7, ""),)), "b": Sample((), (Pair(8, 7, ""),))}
    asked: list[int] = []

    def stored(row: int) -> bytes:
        asked.append(row)
        return encode_jpeg(np.zeros((4, 4, 3), dtype=np.uint8))

    block = attention_block(scorer, features, samples, stored=stored, num_users=1)
    assert [each["user"] for each in block] == ["a"]
    assert asked == [6]
    assert block[0]["image"].startswith("data:image/jpeg;base64,")
