"""Counts of a run against arithmetic done apart from it, at full size and at toy size."""

from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from recsys.scorer.backbone import Dimensions
from recsys.scorer.checkpoint import find_checkpoint
from recsys.scorer.idefics2 import image_markup
from recsys.scorer.registry import FAMILIES
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.dry_run import DryRun, dry_run, show, values_of
from training.fitting.pretraining.tiny_base import TINY, train_tokenizer
from training.fitting.recipes.idefics2_8b import (
    idefics2_8b,
    idefics2_8b_shape,
)
from training.fitting.recipes.overrides import override
from training.fitting.recipes.registry import RECIPES
from training.fitting.recipes.tiny import tiny
from training.fitting.row_tokens import row_tokens


@pytest.fixture(scope="module")
def large() -> DryRun:
    return dry_run(idefics2_8b(), idefics2_8b_shape())


def test_the_base_is_as_large_as_published(large) -> None:
    # Mistral-7B v0.1 has 7,241,732,096 parameters with 32,000 words; here there are three more.
    more_words = 2 * 3 * 4096
    text = large.parameters["text model"][0] + large.parameters["output matrix"][0]
    assert text == 7_241_732_096 + more_words
    base = sum(large.parameters[p][0] for p in large.parameters if p not in ("adapter",))
    assert base == pytest.approx(8.40e9, rel=0.001)


def test_the_adapter_is_counted_by_its_shapes(large) -> None:
    d, kv, mlp, r = 4096, 1024, 14336, 8
    layer = r * (2 * (d + d) + 2 * (d + kv) + 2 * (d + mlp) + (mlp + d))
    text = 32 * layer
    projection = r * (2 * (1152 + 14336) + (14336 + 4096))
    heads, few = 16 * 96, 4 * 96
    attention = r * (2 * (4096 + heads) + 2 * (4096 + few))
    resampler = 3 * (attention + r * (2 * (4096 + 16384) + (16384 + 4096)))
    assert large.parameters["adapter"] == (text + projection + resampler,) * 2


def test_the_vision_tower_is_trained_by_one_switch(large) -> None:
    whole, trained = large.parameters["vision tower"]
    assert whole == trained
    frozen = dry_run(idefics2_8b(trains_vision=False), idefics2_8b_shape())
    assert frozen.parameters["vision tower"] == (whole, 0)
    assert frozen.stages[0].flops < large.stages[0].flops
    assert sum(frozen.stages[0].memory_bytes.values()) < sum(large.stages[0].memory_bytes.values())


def test_the_second_stage_trains_the_preference_tokens_alone(large) -> None:
    assert large.stages[1].num_trained == 10 * 4096
    assert large.parameters["preference tokens"] == (40960, 40960)


def test_steps_and_samples_are_the_papers(large) -> None:
    assert [stage.steps for stage in large.stages] == [5_000, 16_000]
    assert [stage.samples for stage in large.stages] == [5_000 * 64, 16_000 * 64]


def test_quantised_weights_take_a_little_over_half_a_byte(large) -> None:
    weights = large.stages[0].memory_bytes["frozen weights"]
    text = large.parameters["text model"][0]
    assert 0.51 * text < weights < 0.8 * text
    # Stage 2 holds the trained copy of the vision tower, too, and the adapter in float32.
    second = 2 * (8.403e9 + 0.418e9) + 4 * 23_326_720
    assert large.stages[1].memory_bytes["frozen weights"] == pytest.approx(second, rel=0.001)


def test_moments_of_8_bits_take_a_byte_a_number_and_a_constant_a_block(large) -> None:
    recipe = override(idefics2_8b(), ["first.plan.optimizer_bits=8"])
    first = dry_run(recipe, idefics2_8b_shape()).stages[0]
    exact, trained = large.stages[0].memory_bytes, large.stages[0].num_trained
    assert exact["optimizer"] == 8 * trained
    # Layer norms and biases, a thousandth of all, are small enough for 32 bits.
    assert first.memory_bytes["optimizer"] == pytest.approx(2 * (1 + 4 / 256) * trained, rel=0.005)
    assert {**first.memory_bytes, "optimizer": 0} == {**exact, "optimizer": 0}


def test_the_base_that_is_named_is_counted_and_looked_for(tmp_path) -> None:
    shape = RECIPES["tiny"].base_shape()
    assert values_of(None, shape) is values_of(str(tmp_path), shape) is shape
    folder = find_checkpoint("tiny") / "base"
    values = values_of(str(folder), shape)
    vocabulary = values["text_config"]["vocab_size"]
    assert vocabulary != shape["text_config"]["vocab_size"]
    counted = dry_run(tiny(), values, base=str(folder))
    assert counted.parameters["output matrix"][0] == 96 * vocabulary
    assert [each.split(":")[0] for each in counted.missing] == ["tokenizer"]  # it lies elsewhere
    assert len(dry_run(tiny(), shape).missing) == 1


def test_what_is_missing_here_is_named(large) -> None:
    assert any("neither a folder nor in the hub's cache" in each for each in large.missing)


def test_tokens_of_a_row_are_the_templates_own() -> None:
    prompt = "word " * 40
    tokenizer = train_tokenizer([prompt], vocabulary=500)
    template = Template(tokenizer, TemplateConfig(), image=image_markup(TINY.num_latents))
    words = len(template.candidate("")) - TINY.num_latents - 2
    one = len(template.prefix(["", ""])) - len(template.prefix([""]))
    assert one == 2 * (TINY.num_latents + 2 + words + 1)
    recipe = tiny()
    few = row_tokens(replace(recipe, scorer=replace(recipe.scorer, num_references=0)), sizes(), 1)
    more = row_tokens(replace(recipe, scorer=replace(recipe.scorer, num_references=2)), sizes(), 1)
    # The count assumes words and prompt; everything else is the template's.
    assert (more - few) % 2 == 0
    tokens = recipe.scorer.num_preference_tokens
    assert (more - few) / 4 - (few - 1 - tokens) / 2 == 1


def sizes() -> Dimensions:
    shape = RECIPES["tiny"].base_shape()
    return FAMILIES[shape["model_type"]].dimensions(shape)


def test_the_tables_can_be_read(large, capsys) -> None:
    console = Console(width=100, record=True)
    show(large, console)
    text = console.export_text()
    for part in ("vision tower", "preference tokens", "frozen weights", "Missing on this machine"):
        assert part in text


def test_another_recipe_can_be_counted() -> None:
    result = dry_run(tiny(), RECIPES["tiny"].base_shape())
    assert all(sum(stage.memory_bytes.values()) > 0 for stage in result.stages)


def test_one_value_of_a_recipe_can_be_overridden() -> None:
    recipe = override(tiny(), ["scorer.num_preference_tokens=0", "contrastive_weight=0"])
    assert recipe.scorer.num_preference_tokens == 0
    assert recipe.contrastive_weight == 0.0
    assert override(tiny(), ["template.like=+"]).template.like == "+"
    assert not override(idefics2_8b(), ["lora.whole=[]"]).lora.whole


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("lora.rnk=3", "must name one of rank, alpha"),
        ("lora.rank=three", "must give a value like 32"),
        ("first.plan.learning_rate=nan", "must give a finite number"),
        ("first.plan.learning_rate=Infinity", "must give a finite number"),
        ("first.plan.token_learning_rate=-inf", "must give a finite number"),
        ("lora.rank", "must be NAME=VALUE"),
    ],
)
def test_an_override_that_fits_no_value_is_refused(change: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        override(tiny(), [change])


def test_recipes_know_no_module_of_their_base() -> None:
    """What its parts are called is the family's to say: another family takes the same recipe."""
    for source in (Path(idefics2_8b.__code__.co_filename), Path(tiny.__code__.co_filename)):
        text = source.read_text("utf-8")
        assert [part for part in FAMILIES["idefics2"].parts.values() if part in text] == []
    assert tiny().lora.targets == FAMILIES["idefics2"].decoder_targets
    assert idefics2_8b().lora.whole == (FAMILIES["idefics2"].vision_tower,)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipes_json_is_what_runs_were_saved_with(name: str) -> None:
    """An interrupted run goes on where its recipe is the same, down to the adapter's targets."""
    lora = RECIPES[name].build().to_json()["lora"]
    assert (lora["targets"], lora["whole"]) == {
        "tiny": (r".*text_model.*_proj", ()),
        "idefics2_8b": (None, ("vision_model",)),
        "idefics2_8b_recommended": (None, ("vision_model",)),
    }[name]
