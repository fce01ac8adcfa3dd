"""Learning what to borrow: who helps gets weight, who does not gets none, and judges are others."""

from itertools import combinations

import numpy as np
import pytest
import torch

from recsys.coldstart import fit as coldstart_fit
from recsys.coldstart.blend import MODEL_ALONE, fit_blend
from recsys.coldstart.fit import FitReport, fit_cold_start
from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer

NUM_IMAGES = 120
TOKENS = (2, 32)  # of the small scorer: T, D


def pair(liked: int, disliked: int) -> Pair:
    return Pair(liked, disliked, "a hill")


def margins_of(*, others: float, own: float, nobody: float, num_pairs: int = 4000) -> np.ndarray:
    """Pairs whose liked image was drawn by these true weights; margins are liked less disliked."""
    rng = np.random.default_rng(3)
    shown = rng.normal(0, 1, (num_pairs, 3))
    likely = 1 / (1 + np.exp(-shown @ np.array([others, own, nobody])))
    return shown * np.where(rng.random(num_pairs) < likely, 1.0, -1.0)[:, None]


def test_a_blend_finds_the_weights_that_choices_were_made_by() -> None:
    weights = fit_blend(margins_of(others=0.9, own=0.7, nobody=-0.3))
    assert weights == pytest.approx([0.9, 0.7, -0.3], abs=0.12)


def test_where_the_model_is_useless_the_classes_are_trusted() -> None:
    of_others, of_own, of_nobody = fit_blend(margins_of(others=1.0, own=0.0, nobody=0.0))
    assert of_others > 0.8
    assert abs(of_own) < 0.15
    assert abs(of_nobody) < 0.15


def test_where_the_classes_are_useless_the_model_is_trusted() -> None:
    of_others, of_own, _ = fit_blend(margins_of(others=0.0, own=1.0, nobody=0.0))
    assert 0 <= of_others < 0.1
    assert of_own == pytest.approx(1, abs=0.15)


def test_where_the_classes_mislead_the_model_stands_alone() -> None:
    assert fit_blend(margins_of(others=-0.5, own=1.0, nobody=0.3)).tolist() == [0.0, 1.0, 0.0]


def test_without_a_pair_the_model_stands_alone() -> None:
    assert fit_blend(np.zeros((0, 3))).tolist() == [0.0, 1.0, 0.0]


def test_few_pairs_move_it_less_than_many() -> None:
    margins = margins_of(others=2.0, own=0.0, nobody=0.0)
    few, many = fit_blend(margins[:5]), fit_blend(margins)
    assert np.linalg.norm(few - [0, 1, 0]) < np.linalg.norm(many - [0, 1, 0]) / 3
    harder = fit_blend(margins, penalty=1e9)
    assert harder == pytest.approx([0, 1, 0], abs=1e-4)


def test_margins_that_saturate_do_not_throw_it_off() -> None:
    # A model that is sure and wrong: a whole Newton step from b = 1 would leap far over the best.
    margins = np.array([[1.0, -60.0, 0.0]] * 300 + [[1.0, 60.0, 0.0]] * 300)
    weights = fit_blend(margins)
    assert weights[0] > 2
    assert weights[1] == pytest.approx(0, abs=0.1)


@pytest.fixture
def tokens() -> torch.Tensor:
    return torch.randn(NUM_IMAGES, *TOKENS, generator=torch.Generator().manual_seed(2))


@pytest.fixture
def population(tokens: torch.Tensor):
    """People of two opposite tastes along one direction of the tokens; `sure` is how firmly."""

    def population(
        num_users: int, *, sure: float = 4.0, num_pairs: int = 8, num_tastes: int = 2
    ) -> list[list[Pair]]:
        rng = np.random.default_rng(5)
        values = tokens.flatten(1).numpy() @ rng.normal(0, 0.2, tokens[0].numel())
        histories = []
        for user in range(num_users):
            sign, pairs = (1, -1)[user % num_tastes], []
            for _ in range(num_pairs):
                a, b = rng.choice(NUM_IMAGES, 2, replace=False).tolist()
                likes_a = rng.random() < 1 / (1 + np.exp(-sure * sign * (values[a] - values[b])))
                pairs.append(pair(a, b) if likes_a else pair(b, a))
            histories.append(pairs)
        return histories

    return population


@pytest.fixture
def fit(scorer: PreferenceScorer, tokens: torch.Tensor):
    return lambda histories, **more: fit_cold_start(
        scorer, histories, lambda rows: tokens[list(rows)], **more
    )


def test_what_people_share_is_learned_and_trusted_from_nobody_on(fit, population) -> None:
    learned, report = fit(population(80, num_tastes=1))
    assert learned.blends.shape == (4, 3)
    assert learned.blends[:, 0].min() > 0.3
    assert isinstance(report, FitReport)
    assert (report.num_users, report.num_pairs) == (80, 640)
    assert report.num_classes == len(learned.classes.shares)
    assert (report.num_judges, report.num_unknown) == (16, None)
    assert learned.classes.num_users.sum() == pytest.approx(80)
    assert learned.classes.num_pairs.sum() == pytest.approx(640)


def test_two_tastes_are_two_classes_and_help_from_the_first_pair_on(fit, population) -> None:
    learned, report = fit(population(120, num_pairs=12))
    assert report.num_classes >= 2
    assert report.log_likelihoods[report.num_classes] == max(report.log_likelihoods.values())
    assert report.log_likelihoods[2] > report.log_likelihoods[1]
    assert learned.blends[1:, 0].min() > 0.3


def test_coin_tosses_lend_next_to_nothing(fit, population) -> None:
    learned, _ = fit(population(80, sure=0.0))
    trust = np.abs(learned.blends[:, 0] * np.linalg.norm(learned.classes.tastes, axis=1).max())
    fitted, _ = fit(population(80, num_tastes=1))
    sure = np.abs(fitted.blends[:, 0] * np.linalg.norm(fitted.classes.tastes, axis=1).max())
    assert trust.max() < sure.min() / 5


def test_judges_are_not_learned_from(fit, monkeypatch) -> None:
    learned_from, judged_by = [], []
    fit_classes, fit_blends = coldstart_fit.fit_classes, coldstart_fit._fit_blends

    def watched_classes(differences, users, **more):
        learned_from.append({tuple(each) for each in differences})
        return fit_classes(differences, users, **more)

    def watched_blends(scorer, view, classes, judges, rng):
        judged_by.extend(tuple(d) for pairs in judges for d in view.differences(pairs))
        return fit_blends(scorer, view, classes, judges, rng)

    monkeypatch.setattr(coldstart_fit, "fit_classes", watched_classes)
    monkeypatch.setattr(coldstart_fit, "_fit_blends", watched_blends)
    every_pair = list(combinations(range(40), 2))  # so that each pair is one person's alone
    np.random.default_rng(1).shuffle(every_pair)
    rows = [pair(int(a), int(b)) for a, b in every_pair[: 40 * 8]]
    fit([rows[8 * n : 8 * n + 8] for n in range(40)])
    *before, final = learned_from
    assert len(set(judged_by)) == 8 * 8  # a fifth of them, with 8 pairs each
    assert before
    assert all(not each & set(judged_by) for each in before)
    assert len(final) == 40 * 8


@pytest.mark.parametrize(
    ("num_users", "num_able", "num_judges", "is_enough"),
    [
        (40, 12, 8, True),
        (40, 8, 8, True),
        (40, 7, 8, False),
        (40, 0, 8, False),
        (120, 22, 22, True),
        (120, 20, 20, True),
        (120, 19, 24, False),
        (120, 2, 24, False),
    ],
)
def test_whom_the_model_knows_judges_only_where_too_few_others_are(
    fit,
    population,
    monkeypatch,
    num_users: int,
    num_able: int,
    num_judges: int,
    is_enough: bool,
) -> None:
    judged_by, fit_blends = [], coldstart_fit._fit_blends

    def watched(scorer, view, classes, judges, rng):
        judged_by.extend(judges)
        return fit_blends(scorer, view, classes, judges, rng)

    monkeypatch.setattr(coldstart_fit, "_fit_blends", watched)
    people = population(num_users, num_pairs=4)
    _, report = fit([[], *people], may_judge=[True, *(n < num_able for n in range(num_users))])
    numbers = {people.index(each) for each in judged_by}
    assert report.num_judges == len(numbers) == num_judges
    assert (max(numbers) < num_able) is is_enough
    assert report.num_unknown == (None if is_enough else num_able)
    assert any("learned from all but" in each for each in report.cautions()) is not is_enough


def test_images_of_the_references_are_not_asked_about() -> None:
    pairs = [pair(0, 1), pair(2, 3), pair(1, 4), pair(5, 6), pair(7, 2)]
    references, asked = coldstart_fit._split(pairs, 2)
    assert references == pairs[:2]
    assert asked == [pair(5, 6)]


def test_behind_more_references_than_anybody_has_pairs_for_the_model_stands_alone(
    fit, population
) -> None:
    learned, _ = fit(population(30, num_pairs=2, num_tastes=1))
    assert learned.blends[2].tolist() == [0.0, 1.0, 0.0]
    assert learned.blends[3].tolist() == [0.0, 1.0, 0.0]


def test_the_same_again_with_the_same_seed_only(fit, population) -> None:
    histories = population(20)
    assert fit(histories, seed=1)[0].version == fit(histories, seed=1)[0].version
    assert fit(histories, seed=1)[0].version != fit(histories, seed=2)[0].version


def test_four_people_with_a_pair_are_enough_and_three_are_not(fit, population) -> None:
    learned, report = fit([[pair(n, n + 10)] for n in range(4)])
    assert report.num_classes == 1
    assert np.isfinite(learned.blends).all()
    for few in ([], population(3), [*population(3), [], []]):
        with pytest.raises(ValueError, match="at least 4 with choices, got"):
            fit(few)


def test_images_that_are_all_alike_teach_nothing(scorer, population) -> None:
    grey = torch.zeros(NUM_IMAGES, *TOKENS)
    learned, _ = fit_cold_start(scorer, population(8), lambda rows: grey[list(rows)])
    assert learned.blends.tolist() == [[0.0, 1.0, 0.0]] * 4
    assert type(learned).from_bytes(learned.to_bytes()).features(grey).shape == (NUM_IMAGES, 0)


def test_everybody_with_the_same_history(fit) -> None:
    histories = [[pair(0, 1), pair(2, 3), pair(4, 5)] for _ in range(60)]
    learned, report = fit(histories)
    assert report.num_classes == 1
    assert learned.blends[0, 0] > 0
    assert np.isfinite(learned.blends).all()


def test_features_are_whitened_principal_components(fit, tokens, population) -> None:
    learned, _ = fit(population(60))
    features = learned.features(tokens)
    assert features.shape[1] <= coldstart_fit.MAX_FEATURES
    assert np.cov(features.T) == pytest.approx(np.eye(features.shape[1]), abs=0.1)


def test_without_a_model_the_classes_are_the_same_and_no_blend_is_fitted(
    fit, population, tokens
) -> None:
    people = population(40)
    blended, _ = fit(people)
    alone, _ = fit_cold_start(None, people, lambda rows: tokens[list(rows)])
    assert np.array_equal(alone.classes.tastes, blended.classes.tastes)
    assert np.array_equal(alone.components, blended.components)
    for count in range(9):
        assert alone.blend(count).tolist() == list(MODEL_ALONE)
