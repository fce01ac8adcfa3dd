"""A scorer that borrows: what is blended, what is told, and what it is as bytes."""

import asyncio
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from recsys.coldstart.blend import blended
from recsys.coldstart.borrowing import BorrowingScorer
from recsys.coldstart.latent_classes import LatentClasses
from recsys.coldstart.population import MAX_FLAT, ColdStart, pooled
from recsys.engine.engine import ScoringEngine
from recsys.engine.worker import Scorer, UserPrefix
from recsys.scorer.borrowed import NOTHING_BORROWED

ALONE = (0.0, 1.0, 0.0)
HALF = (0.8, 0.6, -0.2)


def own_scores(scorer, references, candidates) -> torch.Tensor:
    return scorer.score(scorer.prefix(references), candidates)


def arrays_of(cold_start: ColdStart) -> dict[str, np.ndarray]:
    own = {name: getattr(cold_start, name) for name in ("mean", "components", "blends")}
    return own | {
        each.name: getattr(cold_start.classes, each.name) for each in fields(LatentClasses)
    }


def test_bytes_hold_all_of_it_and_name_it(make_cold_start) -> None:
    learned = make_cold_start(HALF, ALONE)
    again = ColdStart.from_bytes(learned.to_bytes())
    for name, array in arrays_of(learned).items():
        assert np.array_equal(arrays_of(again)[name], array.astype(np.float32)), name
    assert again.to_bytes() == learned.to_bytes()
    assert again.version == learned.version
    assert make_cold_start(HALF, ALONE).version == learned.version
    assert make_cold_start(ALONE, HALF).version != learned.version
    other = replace(learned, classes=replace(learned.classes, tastes=learned.classes.tastes * 1.01))
    assert other.version != learned.version


def test_bytes_cut_short_or_of_something_else_are_refused(make_cold_start) -> None:
    data = make_cold_start(HALF).to_bytes()
    arrays = load(data)
    without_mean = {name: each for name, each in arrays.items() if name != "mean"}
    without_shares = {name: each for name, each in arrays.items() if name != "shares"}
    more = arrays | {"more": np.ones(1, np.float32)}
    for damaged in (b"", b"junk", data[:-1], data[:100], *map(save, (without_mean, more))):
        with pytest.raises(ValueError, match="is damaged"):
            ColdStart.from_bytes(damaged)
    with pytest.raises(ValueError, match="shares"):
        ColdStart.from_bytes(save(without_shares))


@pytest.mark.parametrize(
    "change",
    [
        {"blends": np.ones((2, 2), np.float32)},
        {"blends": np.ones((0, 3), np.float32)},
        {"components": np.ones((4, 5), np.float32)},
        {"tastes": np.ones((3, 6), np.float32)},
        {"shares": np.full(2, 0.5, np.float32)},
        {"num_users": np.ones((3, 1), np.float32)},
        {"tastes": np.full((3, 5), np.nan, np.float32)},
    ],
)
def test_arrays_that_do_not_fit_each_other_are_refused(make_cold_start, change: dict) -> None:
    arrays = load(make_cold_start(HALF).to_bytes())
    with pytest.raises(ValueError, match="is damaged"):
        ColdStart.from_bytes(save(arrays | change))


def test_the_model_alone_is_the_model(scorer, references, candidates, make_cold_start) -> None:
    borrowing = BorrowingScorer(scorer, make_cold_start(*[ALONE] * 4))
    for count in range(4):
        prefix = borrowing.prefix(references[:count])
        expected = own_scores(scorer, references[:count], candidates)
        assert torch.allclose(borrowing.score(prefix, candidates), expected, rtol=0, atol=1e-6)
        assert prefix.borrowed == NOTHING_BORROWED


def test_a_user_takes_no_more_memory_than_is_told_beforehand(
    scorer, references, make_cold_start
) -> None:
    borrowing = BorrowingScorer(scorer, make_cold_start(HALF))
    long = [replace(each, prompt="a large house " * 100) for each in references]
    used = (long * scorer.config.num_references)[: scorer.config.num_references]
    assert borrowing.prefix(used).num_bytes == borrowing.max_prefix_bytes > scorer.max_prefix_bytes


def test_a_score_is_the_sigmoid_of_what_is_written(
    scorer, references, candidates, make_cold_start
) -> None:
    blends = [HALF, (0.3, 0.9, 0.1), (1.5, 0.0, 0.0), (0.0, 0.0, 1.0)]
    learned = make_cold_start(*blends)
    borrowing = BorrowingScorer(scorer, learned)
    features = learned.features(scorer.image_features([each.image for each in candidates]))
    nobody = torch.logit(own_scores(scorer, [], candidates).double()).numpy()
    for count, (of_others, of_own, of_nobody) in enumerate(blends):
        given = references[:count]
        liked, disliked = (
            learned.features(scorer.image_features([getattr(each, name) for each in given]))
            for name in ("liked", "disliked")
        )
        taste = features @ learned.classes.taste(liked - disliked)
        own = torch.logit(own_scores(scorer, given, candidates).double()).numpy()
        logits = of_others * taste + of_own * own + of_nobody * nobody
        scores = borrowing.score(borrowing.prefix(given), candidates)
        assert scores.numpy() == pytest.approx(1 / (1 + np.exp(-logits)), abs=1e-5)


def test_by_hand_a_blend() -> None:
    own, nobody = np.array([1.0, 2.0]), np.array([10.0, 20.0])
    assert blended(np.array([2.0, 3.0, 0.5]), np.array([5.0, 7.0]), own, nobody).tolist() == [
        2 * 5 + 3 * 1 + 0.5 * 10,
        2 * 7 + 3 * 2 + 0.5 * 20,
    ]


def test_company_and_chunks_do_not_matter(scorer, references, candidates, make_cold_start) -> None:
    borrowing = BorrowingScorer(scorer, make_cold_start(HALF))
    assert len(candidates) > scorer.config.max_packed_candidates
    prefix = borrowing.prefix(references[:2])
    together = borrowing.score(prefix, candidates)
    alone = torch.cat([borrowing.score(prefix, [each]) for each in candidates])
    assert torch.allclose(together, alone, rtol=0, atol=1e-6)
    turned = borrowing.score(prefix, candidates[::-1]).flip(0)
    assert torch.allclose(together, turned, rtol=0, atol=1e-6)
    assert together.dtype is torch.float32
    assert ((together > 0) & (together < 1)).all()
    assert len(set(together.tolist())) == len(candidates)


def test_the_model_is_run_no_oftener_than_there_is_something_to_learn(
    scorer, references, candidates, make_cold_start, monkeypatch
) -> None:
    borrowing = BorrowingScorer(scorer, make_cold_start(HALF, HALF, ALONE))
    prefixes = [borrowing.prefix(references[:count]) for count in range(3)]
    behind = []
    run = scorer.logits_behind
    monkeypatch.setattr(
        scorer,
        "logits_behind",
        lambda prefixes, *more: behind.extend(prefixes) or run(prefixes, *more),
    )
    nobody, one, two = (each.own for each in prefixes)
    for prefix, expected in zip(prefixes, ([nobody], [one, nobody], [two]), strict=True):
        behind.clear()
        borrowing.score(prefix, candidates[:2])
        assert [id(each) for each in behind] == [id(each) for each in expected]


def test_others_taste_alone_is_the_blend_that_weighs_nothing_else(
    scorer, references, candidates, make_cold_start
) -> None:
    alone = make_cold_start((1.0, 0.0, 0.0))
    borrowing = BorrowingScorer(scorer, alone)
    prefix = borrowing.prefix(references[:1])
    prompts = [each.prompt for each in candidates]
    tokens = scorer.image_features([each.image for each in candidates])
    found = borrowing.taste_logits_of(prefix, tokens)
    assert found == pytest.approx(borrowing.logits_of(prefix, prompts, tokens), abs=1e-12)
    assert found.std() > 1e-4
    same = BorrowingScorer(scorer, make_cold_start(HALF)).taste_logits_of(prefix, tokens)
    assert np.array_equal(found, same), "weights are of the blend"


def test_no_candidates_no_scores(scorer, make_cold_start) -> None:
    borrowing = BorrowingScorer(scorer, make_cold_start(HALF))
    assert borrowing.score(borrowing.prefix([]), []).tolist() == []


def test_what_is_borrowed_is_told_by_belonging(scorer, references, make_cold_start) -> None:
    learned = make_cold_start(HALF, HALF, ALONE)
    borrowing = BorrowingScorer(scorer, learned)
    nobody = borrowing.prefix([])
    assert nobody.num_references == 0
    assert nobody.borrowed.num_neighbours == round(0.5 * 10 + 0.3 * 6 + 0.2 * 4)
    assert nobody.borrowed.num_references == round(0.5 * 100 + 0.3 * 30 + 0.2 * 20)
    assert nobody.borrowed.population_version == learned.version
    one = borrowing.prefix(references[:1])
    assert one.num_references == 1
    assert one.borrowed.population_version == learned.version
    assert 4 <= one.borrowed.num_neighbours <= 10
    # More references than there are weights for are blended as the most are: here, not at all.
    for count in (2, 3):
        prefix = borrowing.prefix(references[:count])
        assert prefix.num_references == count
        assert prefix.borrowed == NOTHING_BORROWED


def test_a_prefix_costs_what_it_keeps(scorer, references, make_cold_start) -> None:
    prefix = BorrowingScorer(scorer, make_cold_start(HALF)).prefix(references)
    assert prefix.num_bytes == scorer.prefix(references).num_bytes + prefix.taste.nbytes


def test_more_references_than_the_model_reads_are_refused_as_it_refuses_them(
    scorer, references, make_cold_start
) -> None:
    borrowing = BorrowingScorer(scorer, make_cold_start(HALF))
    for each in (scorer, borrowing):
        with pytest.raises(ValueError, match="at most 3 references are read, got 6"):
            each.prefix(references * 2)


def test_made_for_images_of_another_shape_it_is_refused(scorer, make_cold_start) -> None:
    with pytest.raises(ValueError, match=r"of 64 numbers, got 10: run `recsys coldstart fit`"):
        BorrowingScorer(scorer, make_cold_start(HALF, width=10))


def test_wide_images_are_pooled_by_their_mean() -> None:
    narrow = torch.arange(12.0).reshape(2, 2, 3)
    assert np.array_equal(pooled(narrow), narrow.reshape(2, 6).numpy())
    wide = torch.rand(2, 3, MAX_FLAT)
    assert pooled(wide) == pytest.approx(wide.double().mean(dim=1).numpy(), abs=1e-6)


async def test_to_the_engine_it_is_a_scorer_like_any_other(
    scorer, references, candidates, make_cold_start
) -> None:
    borrowing = BorrowingScorer(scorer, make_cold_start(HALF, HALF, ALONE))
    assert isinstance(borrowing, Scorer)
    assert isinstance(borrowing.prefix([]), UserPrefix)
    num_loaded = 0

    async def load(pairs):
        nonlocal num_loaded
        num_loaded += 1
        return pairs

    engine = ScoringEngine(borrowing, load, max_queue=8, prefix_cache_bytes=2**20)
    await engine.start()
    try:
        given = {"new": [], "ann": references[:1], "bob": references}
        answers = await asyncio.gather(
            *(engine.score(name, 1, own, candidates) for name, own in given.items())
        )
        warm = await engine.score("ann", 1, given["ann"], candidates)
    finally:
        await engine.drain(60.0)
    for own, answer in zip(given.values(), answers, strict=True):
        prefix = borrowing.prefix(own)
        assert answer.num_references == len(own)
        assert answer.borrowed == prefix.borrowed
        expected = borrowing.score(prefix, candidates).tolist()
        assert list(answer.scores) == pytest.approx(expected, abs=1e-6)
    assert [answer.borrowed == NOTHING_BORROWED for answer in answers] == [False, False, True]
    assert warm.borrowed == answers[1].borrowed
    assert engine.stats.cache_hits == 1
    assert num_loaded == 3
