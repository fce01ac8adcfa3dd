"""A small scorer of random weights, in memory and on disk."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import (
    Idefics2ForConditionalGeneration,
    Idefics3ForConditionalGeneration,
    PreTrainedModel,
    PreTrainedTokenizerFast,
)

from recsys.images.preprocess import ImageGeometry
from recsys.scorer import idefics3
from recsys.scorer.backbone import Family
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import (
    find_checkpoint,
    load_scorer,
    save_adapted,
    save_scorer,
)
from recsys.scorer.config import ScorerConfig
from recsys.scorer.decoder import observe_attention
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.photo.connector import ConnectorShape
from recsys.scorer.photo.model import PhotoModel
from recsys.scorer.photo.tower import TowerShape, TowerStage
from recsys.scorer.registry import FAMILIES
from recsys.scorer.template import Template, TemplateConfig
from recsys.signatures.files import has_signature
from training.fitting.pretraining.photo_base import (
    PhotoShape,
    build_photo_model,
    save_photo_model,
)
from training.fitting.pretraining.tiny_base import (
    TinyShape,
    build_model,
    draw_weights,
    text_values,
    train_tokenizer,
)

PHOTO_SHAPE = PhotoShape(
    tower=TowerShape(
        image_px=16,
        stem=8,
        stages=(TowerStage(8, 1, 3, 1, 1), TowerStage(12, 2, 3, 2, 2), TowerStage(16, 2, 5, 2, 3)),
        head=24,
        classes=10,
    ),
    connector=ConnectorShape((("probabilities", "pooled"), ("logits", "statistics")), (0, 2)),
    width=32,
    layers=2,
    heads=4,
    mlp_width=32,
    vocabulary=400,
)
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


@dataclass(frozen=True)
class SmallFamily:
    """A family of base models at small size.

    Attributes:
        name: in the registry.
        build: a model of random weights, the same each time, for a tokenizer.
        save: writes it as a base.
        geometry: of its images.
    """

    name: str
    build: Callable[[PreTrainedTokenizerFast], PreTrainedModel]
    save: Callable[[PreTrainedModel, Path], None]
    geometry: ImageGeometry

    @property
    def family(self) -> Family:
        """What the registry has of it."""
        return FAMILIES[self.name]


def build_small_model(tokenizer: PreTrainedTokenizerFast) -> Idefics2ForConditionalGeneration:
    image = tokenizer.convert_tokens_to_ids("<image>")
    return build_model(SHAPE, vocabulary=len(tokenizer), image_token=image, seed=3)


def build_small_photo(tokenizer: PreTrainedTokenizerFast) -> PhotoModel:
    return build_photo_model(PHOTO_SHAPE, vocabulary=len(tokenizer), seed=3)


def build_small_idefics3(tokenizer: PreTrainedTokenizerFast) -> Idefics3ForConditionalGeneration:
    decoder = {"width": 32, "layers": 2, "heads": 4, "key_value_heads": 2, "mlp_width": 32}
    vision = {"hidden_size": 16, "intermediate_size": 48, "num_hidden_layers": 1}
    vision |= {"num_attention_heads": 2, "image_size": 16, "patch_size": 4}
    values = {
        "image_token_id": tokenizer.convert_tokens_to_ids("<image>"),
        "scale_factor": 2,
        "vision_config": vision,
        "text_config": text_values(vocabulary=len(tokenizer), **decoder) | {"model_type": "llama"},
    }
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Idefics3ForConditionalGeneration(idefics3.build_config(values))
        draw_weights(model, depth=2)
    return observe_attention(model)


SMALL = {
    each.name: each
    for each in (
        SmallFamily("idefics2", build_small_model, PreTrainedModel.save_pretrained, SHAPE.geometry),
        SmallFamily(
            "idefics3", build_small_idefics3, PreTrainedModel.save_pretrained, SHAPE.geometry
        ),
        SmallFamily("photo", build_small_photo, save_photo_model, PHOTO_SHAPE.geometry),
    )
}


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module over the families that it names as `OVER`."""
    names = getattr(metafunc.module, "OVER", ())
    if names and "small" in metafunc.fixturenames:
        metafunc.parametrize("small", names, indirect=True)


@pytest.fixture(scope="session")
def small(request: pytest.FixtureRequest) -> SmallFamily:
    """The family of `model` and of what `make_scorer` makes; Idefics2, or each in turn."""
    return SMALL[getattr(request, "param", "idefics2")]


@pytest.fixture(scope="session")
def tokenizer(small: SmallFamily) -> PreTrainedTokenizerFast:
    """Of a few words, and with what the family marks images by."""
    made = train_tokenizer(["three small fish", "a large house"], vocabulary=SHAPE.vocabulary)
    if small.name == "idefics3":
        made.add_tokens([idefics3.WHOLE_IMAGE_TOKEN], special_tokens=True)
    return made


@pytest.fixture
def model(small: SmallFamily, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """The base of a small scorer; a new one for each test."""
    return small.build(tokenizer)


def assemble_small(
    small: SmallFamily,
    tokenizer: PreTrainedTokenizerFast,
    model: PreTrainedModel | None = None,
    *,
    seed: int = 5,
    **config: Any,
) -> PreferenceScorer:
    """A scorer on a base, or on a new one, with fields of its config; in evaluation."""
    backbone = small.family.wrap(small.build(tokenizer) if model is None else model)
    template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
    torch.manual_seed(seed)
    return PreferenceScorer(
        backbone, template, geometry=small.geometry, config=ScorerConfig(**config)
    ).eval()


@pytest.fixture(scope="session")
def make_scorer(
    small: SmallFamily, tokenizer: PreTrainedTokenizerFast
) -> Callable[..., PreferenceScorer]:
    """`assemble_small` of the test's family."""
    return partial(assemble_small, small, tokenizer)


@pytest.fixture(scope="session")
def small_checkpoint(
    tokenizer: PreTrainedTokenizerFast, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A scorer of random weights with three preference tokens, which reads two references."""
    folder = tmp_path_factory.mktemp("checkpoints") / "small"
    return save_small(SMALL["idefics2"], tokenizer, folder)


def save_small(
    small: SmallFamily,
    tokenizer: PreTrainedTokenizerFast,
    folder: Path,
    write_more: Callable[[Path], None] = lambda folder: None,
) -> Path:
    """Write a checkpoint of a family, which carries its base."""
    model, base = small.build(tokenizer), folder.with_name(f"{folder.name}-base")
    small.save(model, base)
    scorer = assemble_small(
        small, tokenizer, model, seed=1, num_references=2, num_preference_tokens=3
    )
    save_scorer(
        scorer,
        folder,
        base=BaseModel("base"),
        tokenizer=tokenizer,
        base_files=base,
        write_more=write_more,
    )
    return folder


@pytest.fixture
def save_checkpoint(small: SmallFamily, tokenizer: PreTrainedTokenizerFast) -> Callable[..., Path]:
    """`save_small` of the test's family."""
    return partial(save_small, small, tokenizer)


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
