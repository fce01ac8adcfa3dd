"""First questions beside random pairs, on a small world whose features are its attributes."""

import numpy as np
import pytest
import torch

from recsys.coldstart.latent_classes import LatentClasses
from recsys.coldstart.population import ColdStart
from recsys.history import Pair
from training.data.samples import PairTable, Sample
from training.evaluation.tables.first_questions import COUNTS, judge_first_questions
from training.world.communities import Communities
from training.world.tastes import choose
from training.world.truth import WorldTruth

NUM_PEOPLE, NUM_PAIRS, NUM_PROMPTS, NUM_ATTRIBUTES = 40, 40, 60, 6
NUM_CLASSES = 4


@pytest.fixture(scope="module")
def world():
    """People of four opposite communities; lenders choose from shared prompts, others from own."""
    rng = np.random.default_rng(0)
    tastes = np.repeat([[3.0, 0], [-3, 0], [0, 3], [0, -3]], NUM_PEOPLE // NUM_CLASSES, axis=0)
    tastes = np.pad(tastes, ((0, 0), (0, NUM_ATTRIBUTES - 2)))
    memberships = np.repeat(np.arange(NUM_CLASSES), NUM_PEOPLE // NUM_CLASSES)
    shared, own = 4 * NUM_PROMPTS, 2 * NUM_PEOPLE * NUM_PAIRS
    attributes = rng.uniform(-1, 1, (shared + own, NUM_ATTRIBUTES)).astype(np.float32)
    digests = np.frombuffer(rng.bytes(32 * len(attributes)), np.uint8).reshape(-1, 32)
    users = tuple(f"u{n}" for n in range(NUM_PEOPLE))
    centers = tastes[:: NUM_PEOPLE // NUM_CLASSES]
    truth = WorldTruth(Communities(centers), users, tastes, memberships, digests, attributes)
    samples = {}
    for n, user in enumerate(users):
        start = shared + 2 * n * NUM_PAIRS
        pairs = []
        for row in range(start, start + 2 * NUM_PAIRS, 2):
            best = choose(tastes[n], attributes[row : row + 2].astype(np.float64), rng)
            pairs.append(Pair(row + best, row + 1 - best, ""))
        samples[user] = Sample((), tuple(pairs))
    lent = [Pair(4 * n + a, 4 * n + a + 1, f"{n}") for n in range(NUM_PROMPTS) for a in range(3)]
    histories = PairTable({}, tuple(each.tobytes().hex() for each in digests))
    tokens = torch.from_numpy(attributes)[:, None]
    some = np.ones(NUM_CLASSES)
    classes = LatentClasses(centers / truth.communities.temperature, some / NUM_CLASSES, some, some)
    cold_start = ColdStart(
        np.zeros(NUM_ATTRIBUTES), np.eye(NUM_ATTRIBUTES), classes, np.zeros((1, 3))
    )
    return cold_start, [lent, lent], samples, histories, lambda rows: tokens[list(rows)], truth


def judged(world, **other):
    cold_start, lenders, samples, histories, features, truth = world
    known = {"table": histories, "features": features, "truth": truth, "seed": 0} | other
    return judge_first_questions(
        known.pop("cold_start", cold_start),
        known.pop("lenders", lenders),
        known.pop("samples", samples),
        **known,
    )


def test_first_questions_tell_more_than_random_pairs(world) -> None:
    figures = judged(world)
    assert figures.num_images == 200
    assert figures.num_candidates == 300
    assert figures.unasked.value == pytest.approx(0.5, abs=0.05)
    assert figures.unasked.n_pairs == NUM_PEOPLE * NUM_PAIRS
    assert set(figures.by_answers) == {str(count) for count in COUNTS}
    for count, row in figures.by_answers.items():
        gain = row.suggested.value - row.random.value
        assert row.gain.value == pytest.approx(gain)
        bits = figures.expected_bits[count]
        assert bits.suggested > bits.random
    assert figures.by_answers["2"].gain.low > 0
    assert figures.by_answers["8"].suggested.value > 0.8


def test_the_same_seed_gives_the_same_figures(world) -> None:
    first, again, other = judged(world), judged(world), judged(world, seed=1)
    assert first == again
    assert first != other


def test_classes_that_are_all_alike_gain_nothing(world) -> None:
    cold_start = world[0]
    same = cold_start.classes.tastes[:1].repeat(NUM_CLASSES, axis=0)
    some = np.ones(NUM_CLASSES)
    classes = LatentClasses(same, some / NUM_CLASSES, some, some)
    alike = ColdStart(cold_start.mean, cold_start.components, classes, cold_start.blends)
    for row in judged(world, cold_start=alike).by_answers.values():
        assert row.gain.value == pytest.approx(0.0, abs=1e-12)


def test_targets_that_show_an_image_of_the_pool_are_not_judged(world) -> None:
    lenders, samples = world[1], world[2]
    seen = tuple(lenders[0])  # every image of these may be in the pool
    more = {user: Sample((), sample.pairs + seen) for user, sample in samples.items()}
    left = judged(world, samples=more).unasked.n_pairs
    assert NUM_PEOPLE * NUM_PAIRS <= left < NUM_PEOPLE * (NUM_PAIRS + 50)
    assert judged(world, samples={}) is None


def test_of_another_world_nothing_is_told(world) -> None:
    samples, histories = world[2], world[3]
    strangers = {f"stranger {user}": sample for user, sample in samples.items()}
    assert judged(world, samples=strangers) is None
    renamed = ("0" * 64,) * 240 + histories.images[240:]
    assert judged(world, table=PairTable({}, renamed)) is None


def test_too_few_pairs_to_ask(world) -> None:
    assert judged(world, lenders=[world[1][0][:2]]) is None
