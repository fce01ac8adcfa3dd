"""Probes behind references: one packed pass of many against a pass of each by itself."""

import pytest
import torch

from recsys.scorer.attention import record_preference_attention
from recsys.scorer.packing import pack
from recsys.scorer.registry import FAMILIES
from recsys.signatures.probes import (
    ProbeReadings,
    Probes,
    all_heads,
    encode_probes,
    packed_probes,
    read_probes,
)

OVER = FAMILIES
CLOSE = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture
def users(person):
    """Histories of different lengths, one of them empty."""
    return [person(1, 2), person(2, 0), person(3, 4)]


def asked(scorer, users):
    """Prompts and image tokens, as the functions take them."""
    images = [image for user in users for each in user for image in (each.liked, each.disliked)]
    return [[each.prompt for each in user] for user in users], scorer.image_features(images)


def single_pass(scorer, user, candidate):
    """The row of one user and one candidate."""
    prefix = scorer.template.prefix([each.prompt for each in user])
    count = scorer.config.num_preference_tokens
    packed = pack([prefix], [[scorer.template.candidate(candidate.prompt)]], first_position=count)
    images = [image for each in user for image in (each.liked, each.disliked)]
    return packed, scorer.image_features([*images, candidate.image])


@torch.no_grad()
def read(scorer, users, probes) -> ProbeReadings:
    return read_probes(scorer, *asked(scorer, users), probes, heads=all_heads(scorer))


@torch.no_grad()
def read_alone(scorer, user, candidate) -> tuple[torch.Tensor, torch.Tensor]:
    """Score and attention of one candidate behind one user, in a pass of its own."""
    packed, features = single_pass(scorer, user, candidate)
    count = scorer.config.num_preference_tokens
    with record_preference_attention(count, normalisation="log_ratio") as record:
        liked, disliked = scorer.logits(packed, features)[0, 0]
    return liked - disliked, record.stacked()[:, 0, :, -1].flatten(0, 1)


def test_packed_readings_are_those_of_single_passes(scorer, users, candidates, probes) -> None:
    found = read(scorer, users, probes)
    alone = [[read_alone(scorer, user, each) for each in candidates] for user in users]
    scores = torch.tensor([[score for score, _ in row] for row in alone])
    attention = torch.stack([torch.stack([weights for _, weights in row]) for row in alone])
    assert found.scores.shape == (3, 5)
    assert found.attention.shape == (3, 5, 2 * 4, 3)
    torch.testing.assert_close(found.scores, scores, **CLOSE)
    torch.testing.assert_close(found.attention, attention, **CLOSE)
    for each in (found.scores, found.attention[:, :, 4:]):
        assert each.std(dim=0).min() > 1e-6, "who reads must matter"


def test_scores_are_those_of_an_ordinary_pass_to_the_bit(scorer, users, probes) -> None:
    with torch.no_grad():
        logits = scorer.logits(*packed_probes(scorer, *asked(scorer, users), probes))
    assert torch.equal(read(scorer, users, probes).scores, logits[..., 0] - logits[..., 1])


def test_each_user_reads_as_if_alone_whatever_the_order(scorer, users, probes) -> None:
    together = read(scorer, users[::-1], probes)
    for place, user in enumerate(users[::-1]):
        alone = read(scorer, [user], probes)
        torch.testing.assert_close(together.scores[place], alone.scores[0], **CLOSE)
        torch.testing.assert_close(together.attention[place], alone.attention[0], **CLOSE)


def test_a_centred_log_ratio_sums_to_nothing_and_is_that_of_eq_6(scorer, users, probes) -> None:
    ratios = read(scorer, users, probes).attention
    torch.testing.assert_close(ratios.sum(dim=-1), torch.zeros(3, 5, 8), rtol=0, atol=1e-5)
    packed, tokens = packed_probes(scorer, *asked(scorer, users), probes)
    with record_preference_attention(3) as record, torch.no_grad():
        scorer.logits(packed, tokens)
    every = record.stacked()[:, :, :, 3:]
    rows = torch.arange(3)[:, None]
    weights = torch.cat([layer.transpose(1, 2)[rows, packed.readouts] for layer in every], dim=2)
    torch.testing.assert_close(ratios.softmax(dim=-1), weights, **CLOSE)


def test_the_first_layer_shows_no_more_of_a_reader_than_where_the_probes_stand(
    scorer, probes, person
) -> None:
    """Its queries come from the probes alone; what was read enters with the second layer."""
    one, other = person(1, 3), person(4, 3)  # the same prompts with other images
    assert [each.prompt for each in one] == [each.prompt for each in other]
    first, second = read(scorer, [one, other], probes).attention.split(4, dim=2)
    torch.testing.assert_close(first[0], first[1], rtol=0, atol=1e-6)
    assert (second[0] - second[1]).abs().max() > 1e-4


def test_a_probe_more_changes_no_other_probes_reading(scorer, users, probes) -> None:
    fewer = read(scorer, users, Probes(probes.prompts[:2], probes.features[:2]))
    every = read(scorer, users, probes)
    torch.testing.assert_close(fewer.scores, every.scores[:, :2], **CLOSE)
    torch.testing.assert_close(fewer.attention, every.attention[:, :2], **CLOSE)


def test_heads_stand_in_the_order_in_which_they_are_asked_for(scorer, users, probes) -> None:
    assert all_heads(scorer) == tuple((layer, head) for layer in range(2) for head in range(4))
    every = read(scorer, users, probes).attention
    with torch.no_grad():
        found = read_probes(scorer, *asked(scorer, users), probes, heads=[(1, 2), (0, 3)])
    assert torch.equal(found.attention, every[:, :, [6, 3]])


def test_gradients_reach_the_preference_tokens(scorer, users, probes) -> None:
    scorer.preference_tokens.requires_grad_(True)
    found = read_probes(scorer, *asked(scorer, users), probes, heads=all_heads(scorer))
    found.attention.square().sum().backward()
    assert (scorer.preference_tokens.grad.abs().sum(dim=1) > 0).all()


def test_probes_are_encoded_as_any_image(scorer, candidates) -> None:
    probes = encode_probes(scorer, candidates)
    assert probes.prompts == tuple(candidate.prompt for candidate in candidates)
    expected = scorer.image_features([candidate.image for candidate in candidates])
    assert torch.equal(probes.features, expected)


def test_without_preference_tokens_there_are_scores_but_no_attention(scorer, users, probes) -> None:
    object.__setattr__(scorer.config, "num_preference_tokens", 0)
    scorer.preference_tokens = torch.nn.Parameter(torch.zeros(0, 32), requires_grad=False)
    found = read(scorer, users, probes)
    assert found.scores.shape == (3, 5)
    assert found.attention.shape == (3, 5, 0, 0)
