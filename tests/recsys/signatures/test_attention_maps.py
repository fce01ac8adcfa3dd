"""Attention maps against a pass of each order by itself."""

import numpy as np
import pytest
import torch

from recsys.scorer.attention import record_preference_attention
from recsys.scorer.model import CandidateImage, Reference
from recsys.scorer.packing import pack
from recsys.signatures.attention_maps import attention_maps, ordered_attention
from recsys.signatures.orders import reorderings


def _images(count, size=16):
    generator = torch.Generator().manual_seed(7)
    return [torch.rand(3, size, size, generator=generator) for _ in range(count)]


@pytest.fixture
def references():
    first, second, third, fourth = _images(4)
    return [Reference(first, second, "a house"), Reference(third, fourth, "three small fish")]


@pytest.fixture
def candidate():
    return CandidateImage(_images(5)[4], "a house")


def test_each_row_sums_to_one(scorer, references, candidate):
    maps = attention_maps(scorer, references, candidate)

    assert maps.shape == (5, 3)
    np.testing.assert_allclose(maps.sum(axis=1), 1, rtol=1e-5)


def test_all_orders_in_one_pass_are_as_each_in_its_own(scorer, references, candidate):
    maps = attention_maps(scorer, references, candidate, num_orders=4, seed=2)
    orders = reorderings(2, num_orders=4, seed=2)

    ordered = [[references[place] for place in order] for order in orders]
    expected = [_alone(scorer, each, candidate) for each in ordered]

    np.testing.assert_allclose(maps, expected, atol=1e-6)
    assert np.abs(maps - maps[0]).max() > 1e-5, "the order must matter to a random model"


def test_a_user_without_references_has_one_map(scorer, candidate):
    maps = attention_maps(scorer, [], candidate, num_orders=3)

    np.testing.assert_allclose(maps, maps[[0, 0, 0]], atol=1e-7)


def test_there_must_be_an_order(scorer, references, candidate):
    with pytest.raises(ValueError, match="at least 1 order"):
        attention_maps(scorer, references, candidate, num_orders=0)
    features = scorer.image_features([candidate.image])
    with pytest.raises(ValueError, match="at least 1 order"):
        ordered_attention(scorer, features, prompts=[], candidate_prompt="", orders=[])


def test_the_first_order_is_as_given_and_all_are_permutations():
    orders = reorderings(6, num_orders=5, seed=0)

    assert orders[0] == [0, 1, 2, 3, 4, 5]
    assert all(sorted(order) == orders[0] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def _alone(scorer, references, candidate):
    """A pass of its own for one order, by the pieces themselves."""
    count = scorer.config.num_preference_tokens
    prefix = scorer.template.prefix([each.prompt for each in references])
    packed = pack([prefix], [[scorer.template.candidate(candidate.prompt)]], first_position=count)
    images = [image for each in references for image in (each.liked, each.disliked)]
    with torch.no_grad(), record_preference_attention(count) as record:
        scorer.logits(packed, scorer.image_features([*images, candidate.image]))
    weights = record.stacked()[:, 0, :, count:]
    return weights[:, :, packed.segments[0] == 1].mean(dim=(0, 1, 2)).numpy()
