"""The table of baselines: large ones are in memory one at a time."""

import weakref
from functools import partial
from pathlib import Path

import numpy as np
import torch

from recsys.history import Pair
from training.baselines.registry import WEIGHTED
from training.data.features import ImageFeatures
from training.data.samples import PairTable, Sample
from training.evaluation.asked import Asked
from training.evaluation.judge import Judge
from training.evaluation.tables import baselines


class Large:
    """A baseline of which one at most may be in memory."""

    def __init__(self, name: str) -> None:
        self.name = name

    def scores(self, user_id, references, candidates):
        return np.array([float(each.row) for each in candidates])


def picture(row: int) -> torch.Tensor:
    return torch.full((3, 16, 16), 9 * row, dtype=torch.uint8)


def test_a_baseline_is_let_go_before_the_next_is_loaded(make_scorer, monkeypatch) -> None:
    loaded: list[weakref.ref] = []
    placed = set()

    def load(name, folder, *, images, features, device, dtype):
        assert not [each for each in loaded if each() is not None]
        placed.add((device, dtype))
        made = Large(name)
        loaded.append(weakref.ref(made))
        return made

    monkeypatch.setattr(baselines, "load_weighted", load)
    scorer = make_scorer(num_references=1)
    scorer.backbone.to(torch.bfloat16)
    pairs = (Pair(0, 1, "a fish"), Pair(3, 2, "a fish"))
    samples = {user: Sample(pairs[:1], pairs[1:]) for user in ("a", "b")}
    table = PairTable(dict.fromkeys(samples, pairs), tuple(f"{row:064x}" for row in range(4)))
    asked = Asked(table, samples, {}, num_overlapping=0, is_certain=True)
    features_of = partial(ImageFeatures, read=picture)
    judge = Judge(
        asked, scorer, Path(), features_of, picture, lambda row: b"", weights=Path("weights")
    )
    measured = baselines.measure(judge)
    assert measured.missing == ()
    assert {name: measured.by_name[name].top1.value for name in WEIGHTED} == dict.fromkeys(
        WEIGHTED, 1.0
    )
    assert len(loaded) == len(WEIGHTED)
    assert placed == {("cpu", torch.bfloat16)}, "they compute as the judged scorer does"
