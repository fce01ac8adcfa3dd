"""Attention maps against a pass of each order by itself."""

import json

import numpy as np
import pytest
import torch

from recsys.errors import CheckpointRefused
from recsys.scorer.attention import record_preference_attention
from recsys.scorer.model import CandidateImage, Reference
from recsys.scorer.packing import pack
from recsys.signatures.attention_maps import (
    MAP_READINGS,
    attention_maps,
    choice_effects,
    heads_of_maps,
    ordered_attention,
)
from recsys.signatures.orders import reorderings
from recsys.signatures.probes import Probes

HEADS = ((0, 1), (1, 0))


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


def test_a_printed_row_sums_to_one_and_a_log_ratio_to_zero(scorer, references, candidate):
    printed, log_ratio = (
        attention_maps(
            scorer, references, candidate, heads=HEADS, reading=reading, of_choices=False
        )
        for reading in MAP_READINGS[::-1]
    )

    assert (printed.shape, log_ratio.shape) == ((5, 1, 3), (5, 2, 3))
    np.testing.assert_allclose(printed.sum(axis=2), 1, rtol=1e-5)
    np.testing.assert_allclose(log_ratio.sum(axis=2), 0, atol=1e-5)
    assert np.abs(log_ratio).max() > 1e-3


@pytest.mark.parametrize("reading", MAP_READINGS)
def test_all_orders_in_one_pass_are_as_each_in_its_own(scorer, references, candidate, reading):
    maps = attention_maps(
        scorer,
        references,
        candidate,
        heads=HEADS,
        reading=reading,
        of_choices=False,
        num_orders=4,
        seed=2,
    )
    orders = reorderings(2, num_orders=4, seed=2)

    ordered = [[references[place] for place in order] for order in orders]
    expected = [_alone(scorer, each, candidate, reading) for each in ordered]

    np.testing.assert_allclose(maps, expected, atol=1e-5)
    assert np.abs(maps - maps[0]).max() > 1e-5, "the order must matter to a random model"


@pytest.mark.parametrize("reading", MAP_READINGS)
def test_images_that_attend_together_are_as_each_by_itself(scorer, references, reading):
    images = [image for each in references for image in (each.liked, each.disliked)]
    with torch.no_grad():
        features, shown = scorer.image_features(images), scorer.image_features(_images(7)[4:])
    prompts = ("", "a house", "three small fish")
    how = {"prompts": [each.prompt for each in references], "orders": [[0, 1], [1, 0]]}
    how |= {"heads": HEADS, "reading": reading}

    with torch.no_grad():
        together = ordered_attention(scorer, features, Probes(prompts, shown), **how)
        alone = [
            ordered_attention(scorer, features, Probes((prompt,), shown[[number]]), **how)
            for number, prompt in enumerate(prompts)
        ]

    torch.testing.assert_close(together, torch.cat(alone, dim=1), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("reading", MAP_READINGS)
def test_what_choices_change_turns_its_sign_with_the_choices(
    scorer, references, candidate, reading
):
    exchanged = [Reference(each.disliked, each.liked, each.prompt) for each in references]
    own, other, plain, turned = (
        attention_maps(scorer, user, candidate, heads=HEADS, reading=reading, of_choices=of_choices)
        for of_choices in (True, False)
        for user in (references, exchanged)
    )

    np.testing.assert_allclose(own, -other, atol=1e-6)
    np.testing.assert_allclose(own, plain - turned, atol=1e-6)
    assert np.abs(own).max() > 1e-5


def test_who_chose_nothing_changes_nothing(scorer, candidate):
    effect = attention_maps(scorer, [], candidate, heads=HEADS, num_orders=3)
    maps = attention_maps(scorer, [], candidate, heads=HEADS, of_choices=False, num_orders=3)

    np.testing.assert_array_equal(effect, np.zeros((3, 2, 3)))
    np.testing.assert_allclose(maps, maps[[0, 0, 0]], atol=1e-7)


def test_there_must_be_an_order_and_a_head(scorer, references, candidate):
    with pytest.raises(ValueError, match="at least 1 order"):
        attention_maps(scorer, references, candidate, heads=HEADS, num_orders=0)
    with pytest.raises(ValueError, match="at least 1 head"):
        attention_maps(scorer, references, candidate, heads=())
    features = scorer.image_features([candidate.image])
    with pytest.raises(ValueError, match="at least 1 order"):
        choice_effects(
            scorer, features[:0], Probes(("",), features), prompts=[], orders=[], heads=HEADS
        )


def test_maps_show_the_heads_that_signatures_read_or_the_last_layers(scorer, tmp_path):
    last, count = scorer.backbone.num_layers - 1, scorer.backbone.num_heads
    every = tuple((last, head) for head in range(count))
    assert heads_of_maps(scorer, tmp_path) == every
    (tmp_path / "signature").mkdir()
    part = tmp_path / "signature" / "signature.json"
    for named, expected in (([], every), ([[1, 0], [0, 1]], ((0, 1), (1, 0)))):
        readouts = {"scores": {"heads": []}, "attention": {"heads": named}}
        part.write_text(json.dumps({"readouts": readouts}))
        assert heads_of_maps(scorer, tmp_path) == expected
    part.write_text("{}")
    with pytest.raises(CheckpointRefused, match="is damaged"):
        heads_of_maps(scorer, tmp_path)


def test_the_first_order_is_as_given_and_all_are_permutations():
    orders = reorderings(6, num_orders=5, seed=0)

    assert orders[0] == [0, 1, 2, 3, 4, 5]
    assert all(sorted(order) == orders[0] for order in orders)
    assert len({tuple(order) for order in orders}) > 1


def _alone(scorer, references, candidate, reading):
    """A pass of its own for one order, by the pieces themselves."""
    count = scorer.config.num_preference_tokens
    prefix = scorer.template.prefix([each.prompt for each in references])
    packed = pack([prefix], [[scorer.template.candidate(candidate.prompt)]], first_position=count)
    images = [image for each in references for image in (each.liked, each.disliked)]
    with torch.no_grad(), record_preference_attention(count) as record:
        scorer.logits(packed, scorer.image_features([*images, candidate.image]))
    weights = record.stacked()[:, 0, :, count:]
    if reading == "printed":
        of_candidate = weights[:, :, packed.segments[0] == 1]
        return of_candidate.mean(dim=(0, 1, 2)).numpy()[None]
    logarithms = torch.stack([weights[layer, head, -1].log() for layer, head in HEADS])
    return (logarithms - logarithms.mean(dim=1, keepdim=True)).numpy()
