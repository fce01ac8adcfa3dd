"""A small checkpoint whose base lies apart from it, as a large one's does."""

from collections.abc import Callable
from pathlib import Path

import pytest

from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import save_scorer
from training.fitting.pretraining.tiny_base import train_tokenizer


@pytest.fixture
def save_small(make_scorer, tmp_path: Path) -> Callable[..., Path]:
    """Given a name and fields of its config: a checkpoint's folder; its base is in `base`."""
    tokenizer = train_tokenizer(["a fish", "two fish"], vocabulary=400)
    base = tmp_path / "base"

    def save(name: str, *, seed: int = 0, **config: int) -> Path:
        scorer = make_scorer(seed=seed, num_references=2, num_preference_tokens=3, **config)
        scorer.backbone.model.save_pretrained(base)
        save_scorer(scorer, tmp_path / name, base=BaseModel(str(base)), tokenizer=tokenizer)
        return tmp_path / name

    return save


@pytest.fixture
def encoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images each pass of a vision tower encodes, as they come."""
    from recsys.scorer.idefics2 import Idefics2Backbone

    counts: list[int] = []
    encode = Idefics2Backbone.image_tokens

    def counting(self, images, mask=None):
        counts.append(len(images))
        return encode(self, images, mask)

    monkeypatch.setattr(Idefics2Backbone, "image_tokens", counting)
    return counts
