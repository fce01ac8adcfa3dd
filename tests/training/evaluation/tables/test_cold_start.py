"""What is said of borrowing is said of the scorer that is served."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import recsys.coldstart.fit as coldstart_fit
from recsys.coldstart.borrowing import BorrowingScorer
from recsys.coldstart.fit import fit_cold_start
from recsys.coldstart.limits import MAX_PAIRS
from recsys.history import Pair
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference
from training.data.features import ImageFeatures
from training.data.samples import PairTable
from training.data.trained_on import trained_on
from training.evaluation.asked import Asked
from training.evaluation.judge import Judge
from training.evaluation.questions import Samples, newest_samples
from training.evaluation.tables import cold_start

NUM_USERS, NUM_PAIRS, NUM_JUDGED = 40, 12, 6


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    return make_scorer(num_references=2, num_preference_tokens=3, temperature=0.5)


def picture(row: int) -> torch.Tensor:
    """Bright images have even rows, and everybody likes them."""
    generator = torch.Generator().manual_seed(row)
    low = 120 * (row % 2 == 0)
    return torch.randint(low, low + 120, (3, 20, 20), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def table() -> PairTable:
    rng = np.random.default_rng(1)
    pairs = {}
    for user in range(NUM_USERS):
        rows = 2 * rng.permutation(40)[: 2 * NUM_PAIRS].reshape(-1, 2)
        pairs[f"u{user:02}"] = tuple(
            Pair(int(a), int(b) + 1, "two " * (n % 2) + "fish", float(n), n)
            for n, (a, b) in enumerate(rows)
        )
    return PairTable(pairs, tuple(f"{row:064x}" for row in range(80)))


def judge_of(scorer: PreferenceScorer, table: PairTable, samples: Samples) -> Judge:
    asked = Asked(table, dict(samples), {}, num_overlapping=0, is_certain=True)
    features_of = partial(ImageFeatures, read=picture)
    return Judge(asked, scorer, Path(), features_of, picture, lambda row: b"")


def served_accuracy(borrowing: BorrowingScorer, sample, count: int) -> float:
    """Pixels in, scores out, as the engine calls it."""
    references = [
        Reference(picture(p.liked) / 255, picture(p.disliked) / 255, p.prompt)
        for p in sample.references[len(sample.references) - count :]
    ]
    candidates = [
        CandidateImage(picture(row) / 255, p.prompt)
        for p in sample.pairs
        for row in (p.liked, p.disliked)
    ]
    scores = borrowing.score(borrowing.prefix(references), candidates)
    margins = scores[0::2] - scores[1::2]
    assert not (margins == 0).any()
    return float((margins > 0).float().mean())


def test_borrowing_is_judged_as_it_is_served(scorer, table, monkeypatch) -> None:
    fitted, lent = [], []

    def fit(scorer, lenders, *more, **options):
        lent.extend(lenders)
        fitted.append(fit_cold_start(scorer, lenders, *more, **options))
        return fitted[-1]

    monkeypatch.setattr(cold_start, "fit_cold_start", fit)
    asked = {user: table.pairs[user] for user in list(table.pairs)[:NUM_JUDGED]}
    samples = newest_samples(table, asked, seed=0, num_references=2, num_pairs=4)
    figures = cold_start.measure(judge_of(scorer, table, samples))
    assert figures is not None
    borrowing = BorrowingScorer(scorer, fitted[0][0])
    assert set(figures.by_references) == {"0", "1", "2"}
    for count in range(3):
        served = [served_accuracy(borrowing, sample, count) for sample in samples.values()]
        ways = figures.by_references[str(count)]
        assert ways.borrowing.value == pytest.approx(np.mean(served))
    assert len(lent) == NUM_USERS - NUM_JUDGED


def test_nobody_lends_more_than_their_newest_pairs(scorer, table, monkeypatch) -> None:
    lent = []

    def fit(scorer, lenders, *more, **options):
        lent.extend(lenders)
        raise InterruptedError

    monkeypatch.setattr(cold_start, "fit_cold_start", fit)
    long = tuple(Pair(2 * n, 2 * n + 1, "", float(n), n) for n in range(MAX_PAIRS + 9))
    longer = PairTable({**table.pairs, "u99": long}, table.images)
    samples = newest_samples(
        table, {u: table.pairs[u] for u in ("u00", "u01")}, seed=0, num_references=2, num_pairs=4
    )
    with pytest.raises(InterruptedError):
        cold_start.lent(judge_of(scorer, longer, samples))
    assert max(lent, key=len) == long[-MAX_PAIRS:]


def test_whom_the_model_learned_from_does_not_decide_how_it_is_blended(
    scorer, table, monkeypatch
) -> None:
    decided: list[Sequence[Pair]] = []
    fit_blends = coldstart_fit._fit_blends

    def watched(scorer, features, classes, judges, rng):
        decided.extend(judges)
        return fit_blends(scorer, features, classes, judges, rng)

    monkeypatch.setattr(coldstart_fit, "_fit_blends", watched)
    judged, others = list(table.pairs)[:NUM_JUDGED], list(table.pairs)[NUM_JUDGED:]
    strangers = {table.pairs[user] for user in others[:9]}
    known = replace(table, pairs={user: table.pairs[user] for user in others[9:]})
    samples = newest_samples(
        table, {u: table.pairs[u] for u in judged}, seed=0, num_references=2, num_pairs=4
    )
    judge = judge_of(scorer, table, samples)
    judge.learned = trained_on(known, parts={}, key=None)
    lent = cold_start.lent(judge)
    assert lent is not None
    assert lent.report.num_users == len(others)
    assert len(decided) == 6  # a fifth of the 34
    assert {tuple(pairs) for pairs in decided} < strangers
