"""Signatures: unit vectors of a person alone, whatever the length of the history."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from recsys.history import SIGNATURE_REFERENCES
from recsys.signatures.definition import (
    READOUTS,
    Projection,
    parts,
    reading_of,
    signature_version,
    width_of,
)
from recsys.signatures.orders import reorderings
from recsys.signatures.probes import read_probes
from recsys.signatures.reader import SignatureReader

HEADS = ((1, 2), (0, 3))


@pytest.fixture
def reader(scorer, probes, projection) -> SignatureReader:
    return SignatureReader(scorer, probes, projection(5), num_orders=2)


@pytest.fixture
def attentive(scorer, probes, projection) -> SignatureReader:
    made = projection(5 * len(HEADS) * 3, HEADS)
    return SignatureReader(scorer, probes, made, readout="attention", num_orders=2)


@pytest.fixture
def both(scorer, probes, projection) -> SignatureReader:
    made = projection(5 + 5 * len(HEADS) * 3, HEADS)
    return SignatureReader(scorer, probes, made, readout="both", num_orders=2)


def tokens(scorer, references):
    images = [image for each in references for image in (each.liked, each.disliked)]
    return [each.prompt for each in references], scorer.image_features(images)


def test_the_projection_is_what_its_docstring_says() -> None:
    project = Projection(np.array([1.0, 2.0]), np.array([2.0, 0.5]), np.diag([3.0, 1.0]))
    # ((5 - 1) / 2, (6 - 2) / 0.5) = (2, 8); by the matrix (6, 8); of length 10.
    projected = project(np.array([5.0, 6.0]))
    np.testing.assert_allclose(projected, [0.6, 0.8], rtol=1e-6)
    assert projected.dtype == np.float32
    assert project.dimension == 2


def test_the_mean_itself_becomes_the_first_axis() -> None:
    project = Projection(np.array([1.0, 2.0]), np.ones(2), np.eye(2))
    np.testing.assert_array_equal(
        project(np.array([[1.0, 2.0], [1.0, 3.0]])), [[1.0, 0.0], [0.0, 1.0]]
    )


numbers = st.floats(-1e6, 1e6, allow_subnormal=False)


@given(rows=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=1, max_size=4))
def test_all_that_is_projected_is_of_length_one(rows) -> None:
    rng = np.random.default_rng(0)
    project = Projection(rng.normal(size=3), np.array([1e-3, 1.0, 50.0]), rng.normal(size=(3, 2)))
    projected = project(np.array(rows))
    np.testing.assert_allclose(np.linalg.norm(projected, axis=1), 1, rtol=1e-5)
    for row, expected in zip(rows, projected, strict=True):
        np.testing.assert_allclose(project(np.array(row)), expected, atol=1e-6)


@pytest.mark.parametrize("readout", ["reader", "attentive", "both"])
@pytest.mark.parametrize("count", [1, 3, 4, 5, 9])
def test_a_signature_is_a_unit_vector(request, readout, person, count) -> None:
    read = request.getfixturevalue(readout)
    signature = read.read(person(1, count))
    assert signature.shape == (3,) == (read.dimension,)
    assert signature.dtype == np.float32
    assert np.linalg.norm(signature) == pytest.approx(1, abs=1e-6)


def test_people_differ_and_a_second_reading_does_not(reader, attentive, both, person) -> None:
    for read in (reader, attentive, both):
        first, other, again = (read.read(person(seed, 4)) for seed in (1, 2, 1))
        np.testing.assert_array_equal(first, again)
        assert np.abs(first - other).max() > 1e-4


def test_scores_are_averaged_over_reorderings_of_single_passes(
    reader, scorer, probes, projection, person
) -> None:
    references = person(5, 4)
    prompts, features = tokens(scorer, references)
    rows = []
    for order in reorderings(4, num_orders=2, seed=0):
        turned = tokens(scorer, [references[place] for place in order])
        rows.append(read_probes(scorer, [turned[0]], turned[1], probes).scores[0].numpy())
    assert np.abs(rows[0] - rows[1]).max() > 1e-5, "order must matter to the passes"
    expected = np.mean(rows, axis=0)
    np.testing.assert_allclose(reader.reading(prompts, features), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(reader.read(references), projection(5)(expected), atol=1e-3)
    np.testing.assert_array_equal(reader.read(references), reader.read_tokens(prompts, features))


def test_attention_is_read_from_the_projections_heads_at_each_probe(
    attentive, scorer, probes, projection, person
) -> None:
    once = SignatureReader(scorer, probes, attentive.projection, readout="attention")
    prompts, features = tokens(scorer, person(5, 3))
    (seen,) = read_probes(scorer, [prompts], features, probes, heads=HEADS).attention.numpy()
    np.testing.assert_allclose(once.reading(prompts, features), seen.flatten(), rtol=1e-6)


def test_scores_stand_before_attention(reader, attentive, both, scorer, person) -> None:
    given = tokens(scorer, person(5, 6))
    parts_of = [reader.reading(*given), attentive.reading(*given)]
    np.testing.assert_array_equal(both.reading(*given), np.concatenate(parts_of))


def test_a_long_history_is_the_mean_of_its_parts(reader, scorer, person) -> None:
    references = person(6, 6)  # the model reads 4 at once
    halves = [reader.reading(*tokens(scorer, part)) for part in (references[:3], references[3:])]
    reading = reader.reading(*tokens(scorer, references))
    np.testing.assert_allclose(reading, np.mean(halves, axis=0), rtol=1e-4, atol=1e-5)


def test_only_the_newest_references_are_read(reader, scorer, person) -> None:
    references = person(7, SIGNATURE_REFERENCES + 3)
    prompts, features = tokens(scorer, references)
    newest = reader.read_tokens(prompts[3:], features[6:])
    np.testing.assert_array_equal(reader.read_tokens(prompts, features), newest)
    without_one = reader.read_tokens(prompts[4:], features[8:])
    assert not np.array_equal(newest, without_one)


def test_no_references_is_a_callers_slip(reader, attentive) -> None:
    nothing = torch.zeros(0, 2, 32)
    for read in (reader, attentive):
        with pytest.raises(ValueError, match="at least one reference, got none"):
            read.read([])
        with pytest.raises(ValueError, match="at least one reference, got none"):
            read.read_tokens([], nothing)


def test_what_does_not_fit_is_refused(scorer, probes, projection) -> None:
    with pytest.raises(ValueError, match="scores must read 5 numbers, got one of 6"):
        SignatureReader(scorer, probes, projection(6))
    with pytest.raises(ValueError, match="attention must read 30 numbers, got one of 5"):
        SignatureReader(scorer, probes, projection(5, HEADS), readout="attention")
    with pytest.raises(ValueError, match="num_orders must be at least 1, got 0"):
        SignatureReader(scorer, probes, projection(5), num_orders=0)


def test_vectors_of_two_readouts_never_meet(scorer, reader, attentive, both) -> None:
    assert reader.model_version == scorer.model_version
    assert attentive.model_version == signature_version(scorer.model_version, "attention")
    assert both.model_version == signature_version(scorer.model_version, "both")
    assert len({signature_version(v, r) for v in ("a", "b") for r in READOUTS}) == 6


def test_a_reading_stands_probe_by_probe_and_head_by_head() -> None:
    attention = np.arange(2 * 5 * 3 * 4.0).reshape(2, 5, 3, 4)  # (N, P, A, K)
    scores = -np.arange(2 * 5.0).reshape(2, 5)
    expected = [number for probe in attention[1] for head in probe for number in head]
    np.testing.assert_array_equal(reading_of(scores, attention, "attention")[1], expected)
    both = reading_of(scores, attention, "both")
    np.testing.assert_array_equal(both[1], [*scores[1], *expected])
    assert both.shape[1] == width_of("both", num_probes=5, num_heads=3, num_tokens=4)
    np.testing.assert_array_equal(reading_of(scores, attention, "scores"), scores)


@given(num_references=st.integers(1, 100), size=st.integers(1, 40))
def test_parts_cover_the_newest_once_and_evenly(num_references, size) -> None:
    sizes = parts(num_references, size)
    count = min(num_references, SIGNATURE_REFERENCES)
    covered = [place for part in sizes for place in part]
    assert covered == list(range(num_references - count, num_references))
    lengths = [len(part) for part in sizes]
    assert 1 <= min(lengths) <= max(lengths) <= size
    assert max(lengths) - min(lengths) <= 1
    assert len(sizes) == -(-count // size)


@pytest.mark.parametrize("readout", ["reader", "attentive", "both"])
def test_people_read_in_one_pass_are_those_read_one_by_one(
    request, readout, person, scorer, monkeypatch
) -> None:
    """Of histories of one, three and more parts, whose rows are padded."""
    read, num_rows, logits = request.getfixturevalue(readout), [], scorer.logits

    def counting(packed, features):
        num_rows.append(len(packed.ids))
        return logits(packed, features)

    people = [person(seed, count) for seed, count in enumerate([1, 4, 9, 2, SIGNATURE_REFERENCES])]
    alone = [read.read(each) for each in people]
    monkeypatch.setattr(scorer, "logits", counting)
    together = read.read_many(people)
    most = -(-SIGNATURE_REFERENCES // scorer.config.num_references)
    assert len(num_rows) == most
    assert num_rows[0] == len(people) * read.num_orders
    np.testing.assert_allclose(together, alone, rtol=0, atol=1e-3)
    assert read.read_many([]) == []


def test_people_read_together_in_half_precision_agree_with_its_rounding(
    reader, scorer, probes, person
) -> None:
    people = [person(seed, count) for seed, count in enumerate([3, 9, 5])]
    exact = [reader.reading(*tokens(scorer, each)) for each in people]
    scorer.backbone.to(torch.bfloat16)
    prompts, features = zip(*(tokens(scorer, each) for each in people), strict=True)
    alone = [reader.reading(*each) for each in zip(prompts, features, strict=True)]
    together = reader._readings(prompts, features)
    np.testing.assert_allclose(together, alone, rtol=0, atol=np.abs(np.array(alone) - exact).max())
