"""Baselines without weights on histories whose right answer is known by hand."""

import numpy as np
import pytest

from recsys.history import Pair
from training.baselines.crowd import MatrixFactorisation, UserNeighbours
from training.baselines.linear import LinearTaste
from training.baselines.popularity import Chance, MeanRating, MostLiked
from training.data.samples import PairTable
from training.predictors.predictor import CandidateRow, Predictor

IMAGES = 12


def pair(liked: int, disliked: int) -> Pair:
    return Pair(liked, disliked, "")


def histories(**pairs: list[Pair]) -> PairTable:
    return PairTable({user: tuple(own) for user, own in pairs.items()}, ("",) * IMAGES)


def candidates(*rows: int) -> list[CandidateRow]:
    return [CandidateRow(row, "") for row in rows]


KNOWN = histories(
    a=[pair(0, 1), pair(2, 3), pair(4, 5)],
    b=[pair(0, 1), pair(2, 3), pair(4, 5)],
    c=[pair(1, 0), pair(3, 2), pair(5, 4)],
    d=[pair(0, 1), pair(7, 6)],
)


def embed(rows):
    """The image's number, and a coordinate that says nothing."""
    return np.array([[float(row), 1.0] for row in rows])


def everyone() -> list[Predictor]:
    return [
        Chance(),
        MostLiked(KNOWN),
        MeanRating(KNOWN),
        UserNeighbours(KNOWN),
        MatrixFactorisation(KNOWN),
        LinearTaste(embed),
    ]


@pytest.mark.parametrize("predictor", everyone(), ids=lambda each: each.name)
class TestEveryone:
    def test_speaks_the_protocol(self, predictor) -> None:
        assert isinstance(predictor, Predictor)

    def test_a_candidates_number_does_not_depend_on_the_others(self, predictor) -> None:
        references = [pair(0, 1), pair(2, 3)]
        together = predictor.scores("x", references, candidates(4, 5, 6))
        turned = predictor.scores("x", references, candidates(6, 4, 5))
        alone = [predictor.scores("x", references, candidates(row))[0] for row in (4, 5, 6)]
        np.testing.assert_allclose(together, turned[[1, 2, 0]])
        np.testing.assert_allclose(together, alone)

    def test_somebody_new_and_no_candidates_are_no_error(self, predictor) -> None:
        assert predictor.scores("x", [], candidates(0, 1)).shape == (2,)
        assert predictor.scores("x", [pair(0, 1)], []).shape == (0,)


def test_chance_belongs_to_seed_user_and_image() -> None:
    first = Chance(seed=1).scores("a", [], candidates(*range(IMAGES)))
    assert len(set(first)) == IMAGES
    assert not np.array_equal(first, Chance(seed=2).scores("a", [], candidates(*range(IMAGES))))
    assert not np.array_equal(first, Chance(seed=1).scores("b", [], candidates(*range(IMAGES))))


def test_most_liked_counts_other_people() -> None:
    scores = MostLiked(KNOWN).scores("x", [], candidates(0, 1, 7, 9))
    np.testing.assert_array_equal(scores, [3, 1, 1, 0])
    np.testing.assert_array_equal(MostLiked(KNOWN).scores("a", [], candidates(0, 1)), [2, 1])


def test_mean_rating_is_a_shrunk_share_of_comparisons_won() -> None:
    scores = MeanRating(KNOWN, prior=2.0).scores("x", [], candidates(0, 1, 9))
    np.testing.assert_allclose(scores, [(3 + 1) / (4 + 2), (1 + 1) / (4 + 2), 0.5])
    own = MeanRating(KNOWN, prior=2.0).scores("c", [], candidates(0))
    np.testing.assert_allclose(own, [(3 + 1) / (3 + 2)])


def test_neighbours_who_agree_are_followed_and_others_turned_round() -> None:
    scores = UserNeighbours(KNOWN).scores("x", [pair(0, 1), pair(2, 3)], candidates(4, 5, 9))
    # a and b agree on 4 images: weight 4 / (4 + 4); c disagrees on as many; d never saw 4 or 5.
    np.testing.assert_allclose(scores, [1.0, -1.0, 0.0])
    turned = UserNeighbours(KNOWN).scores("x", [pair(1, 0), pair(3, 2)], candidates(4, 5))
    np.testing.assert_allclose(turned, [-1.0, 1.0])


def test_a_user_is_no_neighbour_of_himself() -> None:
    known = histories(a=[pair(0, 1), pair(4, 5)], b=[pair(2, 3)])
    scores = UserNeighbours(known).scores("a", [pair(0, 1)], candidates(4, 5))
    np.testing.assert_array_equal(scores, [0.0, 0.0])


def test_factors_find_the_side_a_user_is_on() -> None:
    left = [pair(n, n + 1) for n in range(0, 10, 2)]
    right = [pair(n + 1, n) for n in range(0, 10, 2)]
    people = {f"l{n}": left for n in range(10)} | {f"r{n}": right for n in range(10)}
    model = MatrixFactorisation(histories(**people), num_factors=2)
    scores = model.scores("x", left[:3], candidates(8, 9, 11))
    assert scores[0] > scores[1] + 0.1
    assert scores[2] == 0.0
    again = MatrixFactorisation(histories(**people), num_factors=2)
    np.testing.assert_array_equal(scores, again.scores("x", left[:3], candidates(8, 9, 11)))


def test_a_linear_taste_follows_the_direction_of_the_references() -> None:
    taste = LinearTaste(embed)
    up = taste.scores("x", [pair(5, 2), pair(9, 1)], candidates(3, 8))
    down = taste.scores("x", [pair(2, 5), pair(1, 9)], candidates(3, 8))
    assert up[1] > up[0]
    assert down[0] > down[1]


def test_a_linear_taste_needs_references_that_differ() -> None:
    np.testing.assert_array_equal(LinearTaste(embed).scores("x", [], candidates(1, 2)), [0.0, 0.0])
    same = LinearTaste(embed).scores("x", [pair(3, 3)], candidates(1, 2))
    np.testing.assert_allclose(same, [0.0, 0.0], atol=1e-12)


def crowd_of(count: int) -> PairTable:
    """People who chose at random among all images."""
    rng = np.random.default_rng(3)
    drawn = {n: [rng.choice(IMAGES, 2, replace=False) for _ in range(9)] for n in range(count)}
    return histories(**{f"u{n}": [pair(int(a), int(b)) for a, b in drawn[n]] for n in drawn})


def test_company_moves_no_number_by_a_last_digit() -> None:
    known = crowd_of(60)
    embeddings = np.random.default_rng(4).normal(size=(IMAGES, 96))
    everywhere = candidates(*range(IMAGES))
    for model in (UserNeighbours(known), LinearTaste(lambda rows: embeddings[list(rows)])):
        for references in list(known.pairs.values())[:20]:
            together = model.scores("x", references, everywhere)
            alone = [model.scores("x", references, [each])[0] for each in everywhere]
            np.testing.assert_array_equal(together, alone)


def test_neighbours_are_those_who_were_shown_the_image() -> None:
    near = {f"n{n}": [pair(0, 1), pair(2, 3)] for n in range(3)}
    known = histories(**near, far=[pair(0, 1), pair(6, 7)])
    model = UserNeighbours(known, num_neighbours=1)
    scores = model.scores("x", [pair(0, 1), pair(2, 3)], candidates(6, 7))
    np.testing.assert_allclose(scores, [1.0, -1.0])


def test_factors_of_nobody_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one user"):
        MatrixFactorisation(histories())
