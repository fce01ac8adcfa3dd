"""The table of attention maps on a toy scorer and people of two opposite communities."""

from pathlib import Path

import numpy as np
import pytest
import torch

from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.attention_maps import NUM_ORDERS
from recsys.signatures.definition import Projection
from recsys.signatures.files import Probe, write_signature
from training.data.features import ImageFeatures
from training.data.samples import PairTable, Sample
from training.evaluation.asked import Asked
from training.evaluation.interpretation import attention_maps
from training.evaluation.judge import Judge
from training.evaluation.tables.attention import (
    CLUSTERS,
    GROUPS,
    NUM_COMMUNITIES_SHOWN,
    NUM_PEOPLE_SHOWN,
    NUM_TARGETS,
    WORLD,
    Attention,
    measure,
    section,
)
from training.predictors.predictor import CandidateRow
from training.world.communities import draw_communities
from training.world.render import encode_jpeg
from training.world.truth import WorldTruth

NUM_PEOPLE, NUM_PAIRS, R = 24, 8, 2
USERS = [f"u{number:02}" for number in range(NUM_PEOPLE)]


def picture(row: int) -> torch.Tensor:
    """One of two pictures, whichever row: an even one or an odd one."""
    generator = torch.Generator().manual_seed(row % 2)
    return torch.randint(0, 256, (3, 20, 20), generator=generator, dtype=torch.uint8)


def stored(row: int) -> bytes:
    return encode_jpeg(picture(row).permute(1, 2, 0).numpy())


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    return make_scorer(seed=1, num_references=R, num_preference_tokens=4)


def people(likes_even: list[bool]) -> PairTable:
    """Who likes even pictures, and who likes odd ones; all is the same of one kind."""
    pairs = {
        user: tuple(
            Pair(2 * n + (not even), 2 * n + even, "a fish", choice=n) for n in range(NUM_PAIRS)
        )
        for user, even in zip(USERS, likes_even, strict=True)
    }
    return PairTable(pairs, tuple(f"{row:064x}" for row in range(2 * NUM_PAIRS)))


def judge_of(scorer, table: PairTable, *, folder: Path, seen=(), communities=None) -> Judge:
    samples = {user: Sample(pairs[:1], pairs[1:]) for user, pairs in table.pairs.items()}
    unseen = {user: each for user, each in samples.items() if user not in seen}
    asked = Asked(table, unseen, {user: samples[user] for user in seen}, 0, is_certain=True)
    truth = None
    if communities is not None:
        drawn = draw_communities(2, seed=0)
        digests = np.array([list(bytes.fromhex(each)) for each in table.images], np.uint8)
        tastes = drawn.centers[communities]
        attributes = np.zeros((len(digests), tastes.shape[1]), np.float32)
        truth = WorldTruth(
            drawn, tuple(table.pairs), tastes, np.array(communities), digests, attributes
        )
    features = ImageFeatures(scorer, picture)
    return Judge(
        asked, scorer, folder, lambda _: features, picture, stored, num_references=R, truth=truth
    )


KINDS = [number % 2 for number in range(NUM_PEOPLE)]
OTHERS = np.random.default_rng(0).permutation(KINDS).tolist()


@pytest.fixture(scope="module")
def planted(scorer, tmp_path_factory) -> Attention:
    table = people([bool(kind) for kind in KINDS])
    folder = tmp_path_factory.mktemp("bare")
    return measure(judge_of(scorer, table, folder=folder, seen=USERS[16:], communities=KINDS))


@pytest.mark.parametrize("reading", ["log_ratio", "printed"])
def test_people_who_choose_alike_attend_alike_and_opposed_ones_the_other_way(
    planted, reading
) -> None:
    for of in planted.likeness[reading]["of_choices"].values():
        assert of.same_community.value == pytest.approx(1, abs=1e-3)
        assert of.other_community.value == pytest.approx(-1, abs=1e-3)
        assert of.difference.low > 1.9
        assert of.control.low < 0.5
    own = planted.likeness[reading]["of_choices"]["unseen"]
    assert own.other_orders.value == pytest.approx(1, abs=1e-3)
    assert own.other_choices.value == pytest.approx(1, abs=1e-3)
    assert own.difference.n_users == 16


def test_exchanged_communities_say_nothing(scorer, tmp_path) -> None:
    table = people([bool(kind) for kind in KINDS])
    result = measure(judge_of(scorer, table, folder=tmp_path, communities=OTHERS))
    difference = result.likeness["log_ratio"]["of_choices"]["all"].difference
    assert difference.low < 0 < difference.high


def test_what_was_measured_is_told(planted) -> None:
    assert (planted.communities, planted.num_communities) == (WORLD, 2)
    assert (planted.num_people, planted.num_references) == (NUM_PEOPLE, R)
    assert (planted.num_targets, planted.num_orders) == (NUM_TARGETS, NUM_ORDERS)
    assert planted.image.startswith("data:image/jpeg;base64,")
    for by_way in planted.likeness.values():
        assert all(set(by_group) == set(GROUPS) for by_group in by_way.values())
    assert len({each.community for each in planted.people}) <= NUM_COMMUNITIES_SHOWN
    assert [each.is_seen for each in planted.people] == [False, False, True, True] * 2
    assert len(planted.people) == 2 * NUM_PEOPLE_SHOWN
    for each in planted.people:
        assert np.shape(each.maps["log_ratio"]) == (NUM_ORDERS, 4 * len(planted.heads))
        assert np.shape(each.maps["printed"]) == (NUM_ORDERS, 4)


def test_without_a_world_communities_are_clusters_of_other_choices(scorer, tmp_path) -> None:
    rng = np.random.default_rng(2)
    probes = [Probe(stored(0), "a fish"), Probe(stored(1), "two fish")]
    projection = Projection(np.zeros(2), np.ones(2), rng.normal(size=(2, 2)))
    table = people([bool(kind) for kind in KINDS])
    assert measure(judge_of(scorer, table, folder=tmp_path)) is None
    write_signature(tmp_path, probes, {"scores": projection}, num_orders=1)
    result = measure(judge_of(scorer, table, folder=tmp_path))
    assert (result.communities, result.num_communities) == (CLUSTERS, 2)
    assert result.likeness["log_ratio"]["of_choices"]["all"].difference.low > 1.9
    assert set(result.likeness["log_ratio"]["of_choices"]) == {"all"}


def test_nothing_is_measured_where_there_is_nobody_to_compare(
    scorer, make_scorer, tmp_path
) -> None:
    table = people([bool(kind) for kind in KINDS])
    alike = [0] * NUM_PEOPLE
    assert measure(judge_of(scorer, table, folder=tmp_path, communities=alike)) is None
    short = PairTable({user: pairs[:3] for user, pairs in table.pairs.items()}, table.images)
    assert measure(judge_of(scorer, short, folder=tmp_path, communities=KINDS)) is None
    bare = make_scorer(seed=1, num_references=R, num_preference_tokens=0)
    assert measure(judge_of(bare, table, folder=tmp_path, communities=KINDS)) is None


def test_maps_of_people_are_of_each_person_and_image(scorer) -> None:
    features = ImageFeatures(scorer, picture)
    some = [pairs[:2] for pairs in people([True, False] * (NUM_PEOPLE // 2)).pairs.values()][:3]
    candidates = [CandidateRow(0, "a fish"), CandidateRow(1, "two fish")]
    together = attention_maps(scorer, features, some, candidates, heads=((0, 1),), num_orders=3)
    assert together.shape == (3, 3, 2, 1, 4)
    for person, image in ((0, 1), (2, 0)):
        alone = attention_maps(
            scorer, features, [some[person]], [candidates[image]], heads=((0, 1),), num_orders=3
        )
        np.testing.assert_allclose(together[person, :, image], alone[0, :, 0], atol=1e-5)


def test_people_read_the_number_that_the_picture_claims(planted) -> None:
    shown = str(section(planted).parts)
    assert "where the score is read 1.00 within and -1.00 between communities" in shown
    assert "a difference of +2.000" in shown
    assert WORLD in shown
    for name in GROUPS.values():
        assert name in shown
