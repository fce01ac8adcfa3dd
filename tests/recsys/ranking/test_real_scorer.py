"""Ranker and engine on a real scorer: small, with random weights."""

import asyncio
from functools import partial

import pytest
import torch

from recsys.engine.engine import ScoringEngine
from recsys.engine.worker import Scorer
from recsys.images.decode import ImageLimits
from recsys.ranking.loader import ImageLoader
from recsys.ranking.ranker import Ranker
from recsys.scorer.model import CandidateImage, PreferenceScorer, Reference

SHADES = {"dark": 20, "middle": 120, "light": 240}


@pytest.fixture(scope="module")
def scorer(make_scorer) -> PreferenceScorer:
    return make_scorer(num_references=2, num_preference_tokens=3)


def grey(shade: int) -> torch.Tensor:
    return torch.full((3, 6, 8), shade / 255)


async def test_everybody_gets_the_scores_they_would_get_alone(
    scorer: PreferenceScorer, store, sent
) -> None:
    assert isinstance(scorer, Scorer)
    store.choose(store.add(200), store.add(30))
    images = ImageLoader(store, ImageLimits(), scorer.geometry)
    engine = ScoringEngine(scorer, images.references, max_queue=8, prefix_cache_bytes=2**20)
    await engine.start()
    ranker = Ranker(engine, store, images, personalizes=store.personalizes, num_references=2)
    candidates = [sent(name, shade) for name, shade in SHADES.items()]
    rank = partial(ranker.rank, candidates=candidates)
    try:
        rankings = await asyncio.gather(*(rank(user) for user in ["ann", "bob", "ann", "cat"]))
    finally:
        await engine.drain(60.0)
        images.close()
    references = {"ann": [Reference(grey(200), grey(30), "a cat")], "bob": [], "cat": []}
    for ranking in rankings:
        prefix = scorer.prefix(references[ranking.user_id])
        candidates = [CandidateImage(grey(shade), "a cat") for shade in SHADES.values()]
        alone = dict(zip(SHADES, scorer.score(prefix, candidates).tolist(), strict=True))
        got = {each.id: each.score for each in ranking.candidates}
        assert got == pytest.approx(alone, abs=1e-6)
        assert [each.id for each in ranking.candidates] == sorted(
            alone, key=lambda name: -alone[name]
        )
    assert abs(rankings[0].candidates[0].score - rankings[1].candidates[0].score) > 1e-5
    assert engine.stats.num_scored == 12
    assert engine.stats.cache_entries == 2  # ann, and nobody
