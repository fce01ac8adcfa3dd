"""Probes behind references: one packed pass of many against a pass of each by itself."""

import numpy as np
import pytest
import torch

from recsys.scorer.attention import record_preference_attention
from recsys.scorer.packing import pack
from recsys.signatures.probes import (
    Probes,
    encode_probes,
    mean_attention,
    mean_over_probes,
    packed_probes,
    probe_attention,
    probe_scores,
)

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


def score_alone(scorer, user, candidate) -> float:
    liked, disliked = scorer.logits(*single_pass(scorer, user, candidate))[0, 0]
    return float(liked - disliked)


def attention_alone(scorer, user, candidates, normalisation):
    """The mean over the tokens of all candidates, each read in a pass of its own."""
    rows = []
    count = scorer.config.num_preference_tokens
    for candidate in candidates:
        packed, features = single_pass(scorer, user, candidate)
        with record_preference_attention(count, normalisation=normalisation) as record:
            scorer.logits(packed, features)
        rows.append(record.stacked()[:, 0, :, count:][:, :, packed.segments[0] == 1])
    return torch.cat(rows, dim=2).mean(dim=2).numpy()


def test_packed_scores_are_those_of_single_passes(scorer, users, candidates, probes) -> None:
    scores = probe_scores(scorer, *asked(scorer, users), probes)
    with torch.no_grad():
        expected = [[score_alone(scorer, user, each) for each in candidates] for user in users]
    assert scores.shape == (3, 5)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, expected, **CLOSE)
    assert scores.std(axis=0).min() > 1e-4, "who reads must matter"


@pytest.mark.parametrize("normalisation", ["preference", "full", "log_ratio"])
def test_packed_attention_is_the_mean_over_the_tokens_of_single_passes(
    scorer, users, candidates, probes, normalisation
) -> None:
    attention = probe_attention(scorer, *asked(scorer, users), probes, normalisation=normalisation)
    with torch.no_grad():
        expected = [attention_alone(scorer, user, candidates, normalisation) for user in users]
    assert attention.shape == (3, 2, 4, 3)
    np.testing.assert_allclose(attention, expected, **CLOSE)


def test_a_mean_over_probes_is_over_each_of_their_tokens_and_no_other(
    scorer, users, probes
) -> None:
    packed, tokens = packed_probes(scorer, *asked(scorer, users), probes)
    num_images = sum(2 * len(user) + len(probes.prompts) for user in users)
    assert tokens.shape[0] == num_images
    weights = torch.rand(len(users), 4, packed.segments.shape[1], 3)
    found = mean_over_probes(weights, packed)
    for row, segments in enumerate(packed.segments):
        expected = weights[row][:, segments > 0].mean(dim=1)
        np.testing.assert_allclose(found[row], expected, **CLOSE)


def test_each_user_reads_as_if_alone_whatever_the_order(scorer, users, probes) -> None:
    backwards = users[::-1]
    scores = probe_scores(scorer, *asked(scorer, backwards), probes)[::-1]
    attention = probe_attention(scorer, *asked(scorer, backwards), probes)[::-1]
    for place, user in enumerate(users):
        alone = asked(scorer, [user])
        np.testing.assert_allclose(scores[place], probe_scores(scorer, *alone, probes)[0], **CLOSE)
        np.testing.assert_allclose(
            attention[place], probe_attention(scorer, *alone, probes)[0], **CLOSE
        )


def test_eq_6_sums_to_one_and_its_log_ratio_to_nothing(scorer, users, probes) -> None:
    given = asked(scorer, users)
    np.testing.assert_allclose(probe_attention(scorer, *given, probes).sum(axis=-1), 1, rtol=1e-5)
    ratios = probe_attention(scorer, *given, probes, normalisation="log_ratio")
    np.testing.assert_allclose(ratios.sum(axis=-1), 0, atol=1e-5)
    assert np.abs(ratios).max() > 1e-3


def test_the_first_layer_shows_no_more_of_a_reader_than_where_the_probes_stand(
    scorer, probes, person
) -> None:
    """Its queries come from the probes alone; what was read enters with the second layer."""
    one, other = person(1, 3), person(4, 3)  # the same prompts with other images
    assert [each.prompt for each in one] == [each.prompt for each in other]
    attention = probe_attention(scorer, *asked(scorer, [one, other]), probes)
    np.testing.assert_allclose(attention[0, 0], attention[1, 0], atol=1e-6)
    assert np.abs(attention[0, 1] - attention[1, 1]).max() > 1e-4


def test_a_probe_more_changes_no_other_probes_score(scorer, users, probes) -> None:
    fewer = Probes(probes.prompts[:2], probes.features[:2])
    given = asked(scorer, users)
    np.testing.assert_allclose(
        probe_scores(scorer, *given, fewer), probe_scores(scorer, *given, probes)[:, :2], **CLOSE
    )


def test_gradients_reach_the_preference_tokens(scorer, users, probes) -> None:
    scorer.preference_tokens.requires_grad_(True)
    attention = mean_attention(scorer, *asked(scorer, users), probes, normalisation="log_ratio")
    attention.square().sum().backward()
    assert scorer.preference_tokens.grad.abs().sum() > 0
    read = probe_attention(scorer, *asked(scorer, users), probes, normalisation="log_ratio")
    np.testing.assert_array_equal(read, attention.detach().double().numpy())


def test_probes_are_encoded_as_any_image(scorer, candidates) -> None:
    probes = encode_probes(scorer, candidates)
    assert probes.prompts == tuple(candidate.prompt for candidate in candidates)
    expected = scorer.image_features([candidate.image for candidate in candidates])
    assert torch.equal(probes.features, expected)


def test_without_preference_tokens_there_are_scores_but_no_attention(scorer, users, probes) -> None:
    object.__setattr__(scorer.config, "num_preference_tokens", 0)
    scorer.preference_tokens = torch.nn.Parameter(torch.zeros(0, 32), requires_grad=False)
    assert probe_scores(scorer, *asked(scorer, users), probes).shape == (3, 5)
    with pytest.raises(ValueError, match="must be preference tokens"):
        probe_attention(scorer, *asked(scorer, users), probes)
