"""A base that sees by EfficientNet-Lite: the same each time, and counted without a weight."""

from dataclasses import replace

import torch

from training.fitting.dry_run import base_shapes, count_parameters
from training.fitting.pretraining.photo_base import PhotoShape, build_photo_model, photo_values
from training.fitting.recipes.tiny import tiny
from training.fitting.rehearsal import measure, rehearse

SHAPE = PhotoShape(width=32, layers=3, mlp_width=48)
VOCABULARY = 60


def test_a_seed_decides_each_weight_that_is_drawn_and_none_of_the_tower() -> None:
    one, again, other = (
        build_photo_model(SHAPE, vocabulary=VOCABULARY, seed=seed).state_dict()
        for seed in (1, 1, 2)
    )
    assert all(torch.equal(each, again[name]) for name, each in one.items())
    drawn = ("connector.projections.0.down_proj.weight", "lm_head.weight")
    assert not any(torch.equal(one[name], other[name]) for name in drawn)
    tower = [name for name in one if name.startswith("tower.")]
    assert tower
    assert all(torch.equal(one[name], other[name]) for name in tower)


def test_a_dry_run_counts_it() -> None:
    values = photo_values(SHAPE, vocabulary=VOCABULARY)
    recipe = replace(tiny(), base=replace(tiny().base, geometry=SHAPE.geometry))
    counted = count_parameters(recipe, base_shapes(recipe, values))
    model = build_photo_model(SHAPE, vocabulary=VOCABULARY, seed=1)
    assert counted["vision tower"] == (4_652_008, 0)
    assert counted["connector"][0] == sum(each.numel() for each in model.connector.parameters())
    assert counted["adapter"][1] > 0
    with_one = rehearse(recipe, values, num_tokens=200, is_first=True)
    assert with_one == measure(recipe, values, num_tokens=200, is_first=True)
