"""The arithmetic on the paper's own figures."""

import numpy as np
import pytest

from training.claims.published import (
    QUESTIONS,
    REPORTED,
    SEEN_QUESTIONS,
    SEEN_TOP1,
    TOP1,
    UNSEEN_TOP1,
    gap_error,
    paired_error,
    published_section,
    share_error,
    token_distances,
)


def test_the_papers_shares_are_of_so_many_questions() -> None:
    numbers = {TOP1: QUESTIONS, SEEN_TOP1: SEEN_QUESTIONS, UNSEEN_TOP1: QUESTIONS - SEEN_QUESTIONS}
    for share, number in numbers.items():
        assert round(share * number) / number == pytest.approx(share, abs=5e-5)
    assert [round(difference * QUESTIONS) for _, difference in REPORTED] == [20, 7, 6, 11]


def test_errors_of_its_test_sets() -> None:
    assert 100 * share_error(TOP1, QUESTIONS / 2) == pytest.approx(1.45, abs=0.01)
    assert 100 * share_error(SEEN_TOP1, SEEN_QUESTIONS / 2) == pytest.approx(3.21, abs=0.01)
    assert gap_error(twins=True) == pytest.approx(gap_error(twins=False) * 2**0.5)


def test_a_paired_error_is_that_of_drawn_answers() -> None:
    """One in ten answers differs, either way alike."""
    rng = np.random.default_rng(0)
    drawn = rng.choice([-1, 0, 1], p=[0.05, 0.9, 0.05], size=(2000, 500)).mean(axis=1)
    assert drawn.std() == pytest.approx(paired_error(0.1, 500), rel=0.05)


def test_tokens_that_nothing_trained_have_the_distances_of_table_7() -> None:
    told = token_distances()
    assert told.mean == pytest.approx(36.889, abs=5e-4)
    assert told.deviation == pytest.approx(0.27, abs=5e-3)
    norms = np.linalg.norm(np.random.default_rng(0).random((1000, 4096)), axis=1)
    assert told.untrained == pytest.approx(norms.mean(), abs=0.03)
    assert told.untrained_deviation == pytest.approx(norms.std(), abs=0.02)
    assert abs(told.decayed - told.mean) < told.error


def test_a_change_that_would_be_seen_moves_the_mean_by_two_errors() -> None:
    told, rng = token_distances(), np.random.default_rng(1)
    vectors = rng.random((200, 4096)) * told.decayed / told.untrained
    changed = vectors + told.hidden_shift * rng.choice([-1, 1], vectors.shape)
    moved = np.linalg.norm(changed, axis=1).mean() - np.linalg.norm(vectors, axis=1).mean()
    assert moved == pytest.approx(2 * told.error, abs=0.03)


def test_the_section_has_every_number_filled_in() -> None:
    text = published_section()
    assert "{" not in text
    for told in ("36.889", "36.890", "1.5 and 3.2", "| preference tokens (Tab. 5) | 0.31 | 7 |"):
        assert told in text.replace("\n", " ")
