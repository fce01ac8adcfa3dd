"""The world's bounds by hand arithmetic, and in the order of what each predictor knows."""

import numpy as np
import pytest

from recsys.history import Pair
from training.data.samples import PairTable, Sample
from training.evaluation.bounds import best_by_references, gap_closed, of_this_world, world_figures
from training.world.communities import draw_communities, draw_tastes
from training.world.tastes import choose
from training.world.truth import WorldTruth

NUM_USERS, NUM_PAIRS = 60, 24


@pytest.fixture(scope="module")
def world() -> tuple[WorldTruth, PairTable, dict[str, Sample]]:
    """People who choose between two images of random attributes."""
    rng = np.random.default_rng(0)
    communities = draw_communities(seed=0)
    tastes, memberships = draw_tastes(communities, NUM_USERS, rng)
    size = 2 * NUM_USERS * NUM_PAIRS
    attributes = rng.uniform(-1, 1, (size, tastes.shape[1])).astype(np.float32)
    digests = np.frombuffer(rng.bytes(32 * size), dtype=np.uint8).reshape(size, 32)
    users = tuple(f"u{n}" for n in range(NUM_USERS))
    truth = WorldTruth(communities, users, tastes, memberships, digests, attributes)
    pairs = {}
    for user in range(NUM_USERS):
        own = []
        for n in range(NUM_PAIRS):
            row = 2 * (user * NUM_PAIRS + n)
            best = choose(tastes[user], attributes[row : row + 2].astype(np.float64), rng)
            own.append(Pair(row + best, row + 1 - best, ""))
        pairs[users[user]] = tuple(own)
    histories = PairTable(pairs, tuple(each.tobytes().hex() for each in digests))
    samples = {user: Sample(own[:8], own[8:]) for user, own in pairs.items()}
    return truth, histories, samples


def test_the_gap_is_a_share_of_what_a_history_can_give() -> None:
    figure = gap_closed([0.65, 0.67], [0.55, 0.57], [0.7, 0.72])
    assert figure.value == pytest.approx((0.66 - 0.56) / (0.71 - 0.56))
    assert figure.low <= figure.value <= figure.high


def test_no_gap_gives_no_number_and_no_warning() -> None:
    assert np.isnan(gap_closed([0.5], [0.5], [0.5]).value)


def test_who_knows_more_gets_more_right(world) -> None:
    truth, histories, samples = world
    figures = world_figures(dict.fromkeys(samples, 0.6), samples, histories, truth)
    known, best, average = (
        figures[name].value for name in ("known_taste", "best_possible", "average_taste")
    )
    assert known > best > average > 0.5
    unadapted = figures["best_unadapted"].value
    assert best > unadapted > 0.5
    assert figures["gap_closed"].value == pytest.approx((0.6 - average) / (best - average))


def test_more_references_allow_more(world) -> None:
    truth, histories, samples = world
    best = best_by_references(samples, histories, truth, (0, 8))
    assert best["8"].value > best["0"].value
    assert best["8"].n_pairs == NUM_USERS * (NUM_PAIRS - 8)


def test_users_of_another_world_are_known_as_such(world) -> None:
    truth, histories, samples = world
    assert of_this_world(samples, histories, truth)
    stranger = {"nobody": next(iter(samples.values()))}
    assert not of_this_world(stranger, histories, truth)
