"""A small scorer of random weights, in memory and on disk."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import Idefics2ForConditionalGeneration, PreTrainedTokenizerFast

from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import (
    find_checkpoint,
    load_scorer,
    save_adapted,
    save_scorer,
)
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import Idefics2Backbone
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.template import Template, TemplateConfig
from recsys.signatures.files import has_signature
from training.fitting.pretraining.tiny_base import TinyShape, build_model, train_tokenizer

SHAPE = TinyShape(
    image_px=16,
    patch_px=8,
    vision_width=16,
    vision_layers=1,
    vision_heads=2,
    num_latents=2,
    width=32,
    layers=2,
    heads=4,
    mlp_width=32,
    vocabulary=400,
)


@pytest.fixture(scope="session")
def tokenizer() -> PreTrainedTokenizerFast:
    """Of a few words."""
    return train_tokenizer(["three small fish", "a large house"], vocabulary=SHAPE.vocabulary)


@pytest.fixture
def model(tokenizer: PreTrainedTokenizerFast) -> Idefics2ForConditionalGeneration:
    """The base of a small scorer; a new one for each test."""
    return build_small_model(tokenizer)


@pytest.fixture(scope="session")
def make_scorer(tokenizer: PreTrainedTokenizerFast) -> Callable[..., PreferenceScorer]:
    """Given fields of its config, and a base if it is not a new one: a scorer, in evaluation."""

    def make(
        model: Idefics2ForConditionalGeneration | None = None, *, seed: int = 5, **config: Any
    ) -> PreferenceScorer:
        backbone = Idefics2Backbone(build_small_model(tokenizer) if model is None else model)
        template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
        torch.manual_seed(seed)
        return PreferenceScorer(
            backbone, template, geometry=SHAPE.geometry, config=ScorerConfig(**config)
        ).eval()

    return make


@pytest.fixture(scope="session")
def small_checkpoint(
    tokenizer: PreTrainedTokenizerFast,
    make_scorer: Callable[..., PreferenceScorer],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """A scorer of random weights with three preference tokens, which reads two references."""
    model, base = build_small_model(tokenizer), tmp_path_factory.mktemp("base")
    model.save_pretrained(base)
    scorer = make_scorer(model, seed=1, num_references=2, num_preference_tokens=3)
    folder = tmp_path_factory.mktemp("checkpoints") / "small"
    save_scorer(scorer, folder, base=BaseModel("base"), tokenizer=tokenizer, base_files=base)
    return folder


@pytest.fixture(scope="session")
def small_adaptations(
    small_checkpoint: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Path]:
    """Checkpoints by name that were adapted from the small one: other P_v, another temperature."""
    return adapt_at_random(small_checkpoint, tmp_path_factory.mktemp("adaptations"))


@pytest.fixture(scope="session")
def tiny_adaptations(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same of the shipped checkpoint, with its signature part."""
    folder = tmp_path_factory.mktemp("tiny-adaptations")
    return adapt_at_random(find_checkpoint("tiny"), folder)


def adapt_at_random(parent: Path, folder: Path) -> dict[str, Path]:
    """Write what adaptations to two audiences do, without training."""
    adaptations = {name: folder / name for name in ("north", "south")}
    for seed, adaptation in enumerate(adaptations.values()):
        scorer = load_scorer(parent, merges_adapter=False)
        tokens, generator = scorer.preference_tokens, torch.Generator().manual_seed(seed)
        tokens.copy_(torch.randn(tokens.shape, generator=generator))
        scorer.config = replace(scorer.config, temperature=0.5 + seed)
        save_adapted(scorer, adaptation, parent=parent, write_more=partial(copy_signature, parent))
    return adaptations


def copy_signature(parent: Path, folder: Path) -> None:
    if has_signature(parent):
        shutil.copytree(parent / "signature", folder / "signature")


def build_small_model(tokenizer: PreTrainedTokenizerFast) -> Idefics2ForConditionalGeneration:
    """Weights are random, and the same each time."""
    image = tokenizer.convert_tokens_to_ids("<image>")
    return build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=3)
