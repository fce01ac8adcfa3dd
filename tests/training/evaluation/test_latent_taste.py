"""A latent taste beside the signature: what is joined, by which weight, and from whom it comes."""

from dataclasses import replace

import numpy as np
import pytest

from recsys.coldstart.borrowing import BorrowingScorer
from recsys.coldstart.fit import fit_cold_start
from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer
from recsys.signatures.definition import Projection
from recsys.signatures.files import SignatureReaders
from recsys.signatures.probes import Probes
from recsys.signatures.reader import SignatureReader
from training.data.samples import PairTable
from training.evaluation import latent_taste
from training.evaluation.history_cuts import cut_histories
from training.evaluation.latent_taste import (
    WEIGHTS,
    LatentTaste,
    best_weight,
    joined,
    learn_latent_taste,
    tastes_of,
)
from training.evaluation.retrieval import cosines, nearest, reciprocal_ranks
from training.evaluation.signature_figures import NotMeasured
from training.evaluation.signature_judge import SignatureJudge
from training.evaluation.signature_world import CEILING
from training.evaluation.tables.signatures import judge_signatures
from training.world.communities import draw_communities
from training.world.truth import WorldTruth

R, NUM_IMAGES, NUM_PAIRS = 3, 80, 8
NUM_JUDGED, NUM_OTHERS = 24, 110


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    return make_scorer(seed=1, num_references=R, num_preference_tokens=4)


@pytest.fixture(scope="module")
def table(features) -> PairTable:
    """People of two opposite tastes along one direction of the image tokens."""
    rng = np.random.default_rng(5)
    tokens = features(range(NUM_IMAGES)).flatten(1).numpy()
    values = tokens @ rng.normal(size=tokens.shape[1])
    pairs = {}
    for user in range(NUM_JUDGED + NUM_OTHERS):
        rows = rng.permutation(NUM_IMAGES)[: 2 * NUM_PAIRS].reshape(-1, 2).tolist()
        sign = (1, -1)[user % 2]
        ordered = [sorted(both, key=lambda row: -sign * values[row]) for both in rows]
        pairs[f"u{user:03}"] = tuple(
            Pair(liked, disliked, "a fish", float(n), n)
            for n, (liked, disliked) in enumerate(ordered)
        )
    return PairTable(pairs, tuple(f"{row:064x}" for row in range(NUM_IMAGES)))


@pytest.fixture
def judge(scorer, features, table) -> SignatureJudge:
    """Of the first people, with signatures of two probes."""
    probes = Probes(("a fish", ""), features([0, 1]))
    projection = Projection(np.zeros(2), np.ones(2), np.eye(2))
    readers = SignatureReaders("scores", {"scores": SignatureReader(scorer, probes, projection)})
    judged = list(table.pairs)[:NUM_JUDGED]
    cuts = cut_histories(table, judged, num_references=R, seed=0)
    return SignatureJudge(scorer, readers, features, cuts)


@pytest.fixture
def others(table) -> dict[str, tuple[Pair, ...]]:
    return {user: table.pairs[user] for user in list(table.pairs)[NUM_JUDGED:]}


def learn(judge, table, others, **options):
    return learn_latent_taste(judge, table, others, **{"may_choose": None, "seed": 0, **options})


@pytest.fixture
def learned(judge, table, others) -> LatentTaste:
    found = learn(judge, table, others)
    assert isinstance(found, LatentTaste)
    return found


def drawn(num_users: int, width: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(num_users, width))


def test_a_taste_is_the_one_that_the_blend_borrows(scorer, features, judge, table, others) -> None:
    cold_start, _ = fit_cold_start(scorer, list(others.values()), features)
    users = [cut.first for cut in judge.cuts.values()]
    borrowing = BorrowingScorer(scorer, cold_start)
    for pairs, taste in zip(users, tastes_of(cold_start, users, features), strict=True):
        tokens = features([row for pair in pairs for row in (pair.liked, pair.disliked)])
        served = borrowing.prefix_of([pair.prompt for pair in pairs], tokens).taste
        np.testing.assert_allclose(taste, served)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_the_cosine_of_what_is_joined_is_the_weighted_mean_of_both(weight: float) -> None:
    signatures, tastes = drawn(2, 6, 0), 40 * drawn(2, 9, 1)
    (both,) = cosines(*(each[None] for each in joined(signatures, tastes, weight)))
    own, other = (cosines(each[:1], each[1:])[0] for each in (signatures, tastes))
    assert both == pytest.approx((own + weight**2 * other) / (1 + weight**2))


def test_with_a_weight_of_nothing_neighbours_are_those_of_the_signature() -> None:
    signatures, tastes = drawn(40, 6, 0), drawn(40, 9, 1)
    alone, both = nearest(signatures, 5), nearest(joined(signatures, tastes, 0.0), 5)
    assert [set(row) for row in alone.tolist()] == [set(row) for row in both.tolist()]


def halves(num_users: int, width: int, seed: int, *, noise: float) -> tuple[np.ndarray, ...]:
    own = drawn(num_users, width, seed)
    return tuple(own + noise * drawn(num_users, width, seed + n) for n in (1, 2))


def test_the_weight_goes_to_what_halves_agree_in() -> None:
    agreeing, noise = halves(200, 8, 10, noise=0.8), halves(200, 8, 20, noise=1e6)
    assert best_weight(agreeing, noise) <= WEIGHTS[1]
    assert best_weight(noise, agreeing) == WEIGHTS[-1]
    other = halves(200, 8, 30, noise=0.8)
    weight = best_weight(agreeing, other)
    assert 0.5 <= weight <= 2.0
    both = [joined(own, taste, weight) for own, taste in zip(agreeing, other, strict=True)]
    assert reciprocal_ranks(*both).mean() > 1.3 * reciprocal_ranks(*agreeing).mean()


def test_lenders_choosers_and_judged_are_three_groups(
    judge, table, others, monkeypatch: pytest.MonkeyPatch
) -> None:
    lent, read = [], []

    def fit(scorer, histories, *more, **options):
        assert scorer is None
        lent.extend(histories)
        return fit_cold_start(scorer, histories, *more, **options)

    def watched(cold_start, users, *more):
        read.extend(users)
        return tastes_of(cold_start, users, *more)

    monkeypatch.setattr(latent_taste, "fit_cold_start", fit)
    monkeypatch.setattr(latent_taste, "tastes_of", watched)
    found = learn(judge, table, others)
    assert (found.num_lenders, found.num_choosers) == (len(lent), NUM_OTHERS // 3)
    assert found.num_lenders + found.num_choosers == NUM_OTHERS
    by_user = {pairs: user for user, pairs in table.pairs.items()}
    lenders = {by_user[pairs] for pairs in lent}
    choosers = {user for user in table.pairs if any(set(h) <= set(table.pairs[user]) for h in read)}
    assert len(choosers) == found.num_choosers
    assert not lenders & choosers
    assert not (lenders | choosers) & set(judge.cuts)


@pytest.mark.parametrize(
    ("num_able", "num_choosers", "are_all_able"), [(25, 25, True), (19, 36, False)]
)
def test_whom_the_model_knows_chooses_only_where_too_few_others_can(
    judge, table, others, monkeypatch, num_able: int, num_choosers: int, are_all_able: bool
) -> None:
    chosen, cut = [], latent_taste._choosers
    monkeypatch.setattr(
        latent_taste, "_choosers", lambda *a, **k: chosen.append(cut(*a, **k)) or chosen[-1]
    )
    last = NUM_OTHERS - num_able
    found = learn(judge, table, others, may_choose=[n >= last for n in range(NUM_OTHERS)])
    assert found.num_choosers == num_choosers
    assert (set(chosen[0]) <= set(list(others)[last:])) is are_all_able


def test_of_too_few_others_it_is_not_measured_and_says_why(judge, table, others) -> None:
    few = dict(list(others.items())[:99])
    found = learn(judge, table, few)
    assert isinstance(found, NotMeasured)
    assert found.why.endswith("got 99 and 33")
    result = judge_signatures(judge, table, found)
    assert result.joined == found
    assert not {"latent_taste", "joined"} & set(result.rivals)


def truth_of(table: PairTable) -> WorldTruth:
    """Tastes of the two kinds of people."""
    communities = draw_communities(4, seed=0)
    tastes = np.zeros((len(table.pairs), communities.centers.shape[1]))
    tastes[:, 0] = [(1, -1)[user % 2] for user in range(len(tastes))]
    tastes[:, 1:] = 0.2 * drawn(len(tastes), tastes.shape[1] - 1, 3)
    digests = [list(bytes.fromhex(name)) for name in table.images]
    attributes = np.random.default_rng(8).uniform(-1, 1, (len(digests), tastes.shape[1]))
    return WorldTruth(
        communities,
        tuple(table.pairs),
        tastes,
        np.arange(len(tastes)) % 2,
        np.array(digests, dtype=np.uint8),
        attributes.astype(np.float32),
    )


def test_what_it_adds_is_told_beside_the_readouts(judge, table, learned) -> None:
    result = judge_signatures(judge, table, learned, truth=truth_of(table))
    told, rivals = result.joined, result.rivals
    assert (told.weight, told.dimension) == (learned.weight, learned.dimension)
    assert told.num_classes == len(learned.cold_start.classes.shares)
    for name in ("latent_taste", "joined"):
        assert rivals[name].taste.n_users == rivals[name].mrr.n_users == NUM_JUDGED
        assert rivals[name].of_ceiling.value == pytest.approx(
            rivals[name].taste.value / rivals[CEILING].taste.value
        )
    for part in ("taste", "mrr"):
        gained = getattr(told.minus_shipped, part)
        both, shipped = (getattr(rivals[name], part) for name in ("joined", "shipped"))
        assert gained.value == pytest.approx(both.value - shipped.value)
        assert gained.low <= gained.value <= gained.high
    assert rivals["latent_taste"].taste.value > 0.9, (
        "classes of two opposite tastes tell them apart"
    )
    assert told.minus_shipped.taste.low > 0


def test_a_weight_of_nothing_gains_nothing(judge, table, learned) -> None:
    result = judge_signatures(judge, table, replace(learned, weight=0.0), truth=truth_of(table))
    gain = result.joined.minus_shipped
    assert [gain.taste.low, gain.taste.high] == pytest.approx([0, 0])
    assert [gain.mrr.low, gain.mrr.high] == pytest.approx([0, 0])
