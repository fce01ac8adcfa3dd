"""A rehearsed step against arithmetic, PyTorch's counter of FLOPs, and a run on real tensors."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.flop_counter import (
    FlopCounterMode,
    sdpa_backward_flop_count,
    sdpa_flop_count,
)

from recsys.history import Pair
from recsys.images.preprocess import ImageGeometry
from recsys.scorer.adapter import add_adapter
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.registry import FAMILIES
from recsys.signatures.definition import Projection
from recsys.signatures.probes import all_heads
from training.data.batches import batches
from training.data.encoding import Encoded
from training.data.samples import PairTable
from training.fitting import rehearsal
from training.fitting.assembly import second_parameters, train_only
from training.fitting.objective import step_loss
from training.fitting.recipes.idefics2_8b import idefics2_8b, idefics2_8b_shape
from training.fitting.recipes.recipe import Recipe
from training.fitting.recipes.tiny import tiny
from training.fitting.rehearsal import Meter, Rehearsal, measure, rehearse
from training.fitting.row_tokens import PROMPT_TOKENS, WORDS_TOKENS, row_tokens
from training.fitting.split_half import Finding, SplitHalf
from training.fitting.trainer import StepLoss
from training.predictors.predictor import CandidateRow

FAMILY = FAMILIES["idefics2"]
NUM_TOKENS, NUM_PATCHES, NUM_IMAGES, NUM_ROWS = 1773, 36 * 36, 36, 2


def small() -> tuple[Recipe, dict[str, Any]]:
    """The recipe on a base of another shape: fewer and narrower layers, larger patches."""
    recipe, values = idefics2_8b(), FAMILY.with_layers(idefics2_8b_shape(), text=5, vision=4)
    values["vision_config"] |= {
        **{"hidden_size": 96, "intermediate_size": 384, "num_attention_heads": 4},
        **{"patch_size": 16, "image_size": 128},
    }
    values["perceiver_config"] = values["perceiver_config"] | {
        **{"hidden_size": 128, "resampler_n_latents": 8, "resampler_n_heads": 4},
        **{"resampler_head_dim": 32, "num_key_value_heads": 2},
    }
    values["text_config"] |= {
        **{"vocab_size": 32002, "hidden_size": 128, "intermediate_size": 512, "head_dim": 32},
        **{"num_attention_heads": 4, "num_key_value_heads": 2},
    }
    geometry = ImageGeometry(square_px=128)
    return replace(recipe, base=replace(recipe.base, geometry=geometry)), values


@pytest.fixture(scope="module")
def first() -> Rehearsal:
    return rehearse(idefics2_8b(), idefics2_8b_shape(), num_tokens=NUM_TOKENS, is_first=True)


def test_flops_of_stage_1_are_those_of_its_matrices(first) -> None:
    """2 a weight and token forward, again when computed again, and backward for the input.

    Twice backward where the weight is trained; attention 4 n m D forward and 2.5 times that
    backward.
    """
    tokens, patches = NUM_ROWS * NUM_TOKENS, NUM_IMAGES * NUM_PATCHES
    layer = 2 * 4096 * (4096 + 1024) + 3 * 4096 * 14336
    decoder = 32 * (3 * 2 * layer * tokens + 4.5 * 4 * NUM_ROWS * NUM_TOKENS**2 * 4096)
    tower = 27 * (4 * 1152**2 + 2 * 1152 * 4304) * patches * 2
    # The last matrix of a layer is not computed again: nothing of its result is needed.
    saved = 27 * 1152 * 4304 * patches * 2
    looks = 27 * 4.5 * 4 * NUM_IMAGES * NUM_PATCHES**2 * 1152
    projection = 3 * 2 * (2 * 1152 * 14336 + 14336 * 4096) * patches
    # 64 latents a layer, and keys and values of all patches behind them.
    latents = 2 * 4096 * 1536 + 3 * 4096 * 16384
    resampler = 3 * 3 * 2 * (latents * NUM_IMAGES * 64 + 2 * 4096 * 384 * (patches + 36 * 64))
    expected = decoder + 4 * tower - saved + looks + projection + resampler
    assert first.flops == pytest.approx(expected, rel=0.02)
    assert first.flops * 5_000 * 32 == pytest.approx(6.0e19, rel=0.03)


def test_memory_of_stage_1_is_that_of_the_projection_over_all_patches(first) -> None:
    """Inputs of layers are kept, and what one projection keeps while it is computed again."""
    patches = NUM_IMAGES * NUM_PATCHES
    kept = 2 * 27 * patches * 1152 + 2 * 32 * NUM_ROWS * NUM_TOKENS * 4096
    wide = 2 * patches * 14336  # one of the projection's wide tensors
    assert kept < first.decoding_bytes < 3 * kept
    assert 10 * wide < first.activation_bytes - kept < 16 * wide


def test_stage_2_keeps_nothing_of_the_images(first) -> None:
    second = rehearse(idefics2_8b(), idefics2_8b_shape(), num_tokens=NUM_TOKENS, is_first=False)
    assert second.flops < 0.65 * first.flops
    assert second.decoding_bytes < 0.3 * first.decoding_bytes


def test_what_nothing_is_learned_from_is_encoded_a_few_images_at_once() -> None:
    recipe, values = small()
    more = replace(recipe, second=replace(recipe.second, num_users=2 * recipe.second.num_users))
    once, twice = (measure(r, values, num_tokens=300, is_first=False) for r in (recipe, more))
    assert twice.encoding_bytes < 1.2 * once.encoding_bytes
    assert twice.flops == pytest.approx(2 * once.flops, rel=0.01)


@pytest.mark.parametrize("is_first", [True, False])
@pytest.mark.parametrize("checkpointing", [True, False])
def test_a_small_shape_agrees_with_all_its_layers(is_first: bool, checkpointing: bool) -> None:
    recipe, values = small()
    recipe = replace(recipe, base=replace(recipe.base, checkpointing=checkpointing))
    compare(recipe, values, num_tokens=300, is_first=is_first)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_objective_of_a_small_shape_agrees_with_all_its_layers(checkpointing: bool) -> None:
    recipe, values = small()
    recipe = replace(
        recipe,
        base=replace(recipe.base, checkpointing=checkpointing),
        second=replace(recipe.second, num_pairs=8),
        signature=replace(recipe.signature, weight=1.0),
        encodes_once=True,
    )
    num_tokens = row_tokens(recipe, FAMILY.dimensions(values), 8)
    compare(recipe, values, num_tokens=num_tokens, is_first=False)


@pytest.mark.slow
@pytest.mark.parametrize("is_first", [True, False])
def test_the_full_shape_agrees_with_all_its_layers(is_first: bool) -> None:
    compare(idefics2_8b(), idefics2_8b_shape(), num_tokens=NUM_TOKENS, is_first=is_first)


def compare(recipe: Recipe, values: dict[str, Any], *, num_tokens: int, is_first: bool) -> None:
    counted = rehearse(recipe, values, num_tokens=num_tokens, is_first=is_first)
    with FlopCounterMode(display=False, custom_mapping=ATTENTION) as counter:
        measured = measure(recipe, values, num_tokens=num_tokens, is_first=is_first)
    assert counted.flops == pytest.approx(counter.get_total_flops(), rel=0.1)
    measured = measure(recipe, values, num_tokens=num_tokens, is_first=is_first)
    assert counted.activation_bytes == pytest.approx(measured.activation_bytes, rel=0.1)


# PyTorch's counter does not know the CPU's kernel; it hands over shapes in place of tensors.
ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: (
        lambda query, key, value, *_, **__: sdpa_flop_count(query, key, value)
    ),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: (
        lambda gradient, query, key, value, *_, **__: sdpa_backward_flop_count(
            gradient, query, key, value
        )
    ),
}


@contextmanager
def real_tensors() -> Iterator[None]:
    yield


def test_memory_is_that_of_real_tensors(monkeypatch) -> None:
    """The same step on the CPU; what autograd keeps of it is counted apart, by its own hooks."""
    recipe, values = small()
    recipe = replace(recipe, base=replace(recipe.base, checkpointing=False))
    counted = rehearse(recipe, values, num_tokens=300, is_first=True)
    monkeypatch.setattr(rehearsal, "FakeTensorMode", real_tensors)
    kept: dict[int, int] = {}
    weights = set()

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        if isinstance(tensor, torch.nn.Parameter):
            weights.add(storage.data_ptr())
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        measured = measure(recipe, values, num_tokens=300, is_first=True)
    assert counted.activation_bytes == pytest.approx(measured.activation_bytes, rel=0.1)
    activations = sum(size for at, size in kept.items() if at not in weights)
    assert counted.activation_bytes == pytest.approx(activations, rel=0.1)


@pytest.mark.parametrize("checkpointing", [True, False])
def test_the_objective_of_stage_2_is_counted_as_it_is_done(make_scorer, checkpointing) -> None:
    """A step of the trainer's own loss on real tensors, under the same meter."""
    whole = tiny()
    scorer = make_scorer(
        num_references=4,
        num_preference_tokens=3,
        adapt=lambda model: add_adapter(model, whole.lora),
    )
    recipe = replace(
        whole,
        base=replace(whole.base, geometry=scorer.geometry, checkpointing=checkpointing),
        scorer=scorer.config,
        second=replace(whole.second, num_users=3, num_pairs=4),
        signature=replace(whole.signature, weight=1.0),
    )
    values = scorer.backbone.model.config.to_dict()
    sizes = FAMILY.dimensions(values)
    counted = measure(recipe, values, num_tokens=row_tokens(recipe, sizes, 4), is_first=False)
    if checkpointing:
        scorer.backbone.keep_no_activations()
    train_only(scorer, second_parameters(scorer))
    scorer.train()
    loss = stage_2_loss(scorer, recipe)
    meter = Meter([*scorer.parameters(), *scorer.buffers()])
    with meter:
        loss(0, 0)[0].backward()
    assert counted.flops == pytest.approx(meter.flops, rel=0.02)
    assert counted.activation_bytes == pytest.approx(meter.take_most(), rel=0.1)


def stage_2_loss(scorer: PreferenceScorer, recipe: Recipe) -> StepLoss:
    """Of users with as many references as pairs, and prompts as long as a count assumes."""
    of_one = FAMILY.dimensions(scorer.backbone.model.config.to_dict()).image_places
    length = of_one + WORDS_TOKENS + PROMPT_TOKENS - 1
    prompt = " ".join(["a"] * (length - len(scorer.template.candidate(""))))
    assert len(scorer.template.candidate(prompt)) == length
    stage, num_pairs = recipe.second, recipe.scorer.num_references + recipe.second.num_pairs
    pairs = {
        f"u{user}": tuple(
            Pair(2 * row, 2 * row + 1, prompt, choice=row)
            for row in range(user * num_pairs, (user + 1) * num_pairs)
        )
        for user in range(stage.num_users)
    }
    num_images = 2 * num_pairs * stage.num_users
    table = PairTable(pairs, tuple(map(str, range(num_images))))
    drawn = batches(
        table,
        num_users=stage.num_users,
        num_pairs=stage.num_pairs,
        num_references=recipe.scorer.num_references,
        fewer_references=0.0,
        seed=0,
    )
    width = (scorer.backbone.num_image_tokens, scorer.backbone.hidden_size)
    heads = all_heads(scorer)[-recipe.signature.most_heads :]
    parts = recipe.signature.probe_parts
    num_readings = len(parts[0]) * len(heads) * scorer.config.num_preference_tokens
    matrix = np.random.default_rng(0).normal(size=(num_readings, recipe.signature.dimension))
    fitted = Projection(np.zeros(num_readings), np.ones(num_readings), matrix, heads)
    finding = Finding(
        scorer,
        SplitHalf([fitted] * len(parts)),
        [[CandidateRow(row, prompt) for row in part] for part in parts],
        weight=recipe.signature.weight,
        seed=0,
    )
    place = {row: row for row in range(num_images)}
    encoded = Encoded(torch.rand(num_images, *width), place, torch.device("cpu"))
    return step_loss(scorer, drawn, encoded, finding=finding)
