"""What an H100 asks for is arithmetic, and the verdict names what would be needed."""

import re
from dataclasses import replace

import pytest

from training.data.rates import DataRate
from training.fitting.demand import PEAK_FLOPS, UTILISATION, Demand, demand, verdict
from training.fitting.recipes.idefics2_8b import idefics2_8b, idefics2_8b_shape
from training.fitting.recipes.registry import RECIPES
from training.fitting.recipes.tiny import tiny

ASKED = Demand(flops=10**13, part_s=0.5, num_images=30.0)


def test_a_part_takes_its_flops_at_the_assumed_share_of_the_peak() -> None:
    """6.0e19 FLOPs of stage 1 in 5,000 steps of 32 parts; 2 users x 9 pairs x 2 images a part."""
    asked = demand(idefics2_8b(), idefics2_8b_shape(), num_images=36.0, is_first=True)
    assert asked.flops * 5_000 * 32 == pytest.approx(6.0e19, rel=0.03)
    assert asked.part_s == asked.flops / (PEAK_FLOPS * UTILISATION)
    assert asked.images_per_s == pytest.approx(38, abs=1)


def test_a_step_with_tokens_is_shorter_and_asks_for_more() -> None:
    recipe, values = idefics2_8b(), idefics2_8b_shape()
    making = demand(recipe, values, num_images=36.0, is_first=False)
    kept = demand(recipe, values, num_images=36.0, is_first=False, has_tokens=True)
    assert kept.flops < making.flops
    assert kept.images_per_s > making.images_per_s


def test_images_that_are_encoded_once_are_asked_for_in_no_step() -> None:
    asked = demand(tiny(), RECIPES["tiny"].base_shape(), num_images=0.0, is_first=True)
    assert asked.images_per_s == 0
    assert "keeps up: a step reads no images" in verdict(asked, DataRate("decoding", 0, 9, 9.0))


def test_of_a_small_model_no_verdict_is_given() -> None:
    recipe = replace(tiny(), encodes_once=False)
    asked = demand(recipe, RECIPES["tiny"].base_shape(), num_images=36.0, is_first=True)
    for source in ("decoding", "tokens on disk"):
        said = verdict(asked, DataRate(source, 0, 9, 9.0))
        assert "cannot be said: the estimate is meant for large models" in said
    large, values = idefics2_8b(), idefics2_8b_shape()
    for has_tokens in (False, True):
        asked = demand(large, values, num_images=36.0, is_first=False, has_tokens=has_tokens)
        assert "does not keep up" in verdict(asked, DataRate("decoding", 1, 9, 9.0))


@pytest.mark.parametrize(
    ("rate", "text"),
    [
        (
            DataRate("decoding", 4, 99, 80.0),
            r"keeps up: 80 images/s \(decoding, 4 workers\), an H100",
        ),
        (DataRate("decoding", 4, 99, 50.0), r"does not keep up: .* 4 workers.* --workers 5 on"),
        (DataRate("decoding", 1, 99, 10.0), r"does not keep up: .* 1 worker\).* --workers 6 on"),
        (DataRate("decoding", 0, 99, 25.0), r"240% of a step more; it needs --workers 3 on"),
        (DataRate("decoding", 0, 99, 600.0), r"keeps up: .* 10% of a step more"),
        (DataRate("tokens on disk", 0, 99, 300.0), "does not keep up: .* a faster disk"),
        (DataRate("tokens on disk", 0, 0, 0.0), "was not measured: there were no tokens on disk"),
    ],
)
def test_the_verdict_says_what_is_needed(rate, text) -> None:
    assert re.search(text, verdict(ASKED, rate))


@pytest.mark.parametrize(("num_workers", "is_told"), [(0, False), (1, True), (4, True)])
def test_the_verdict_says_that_receiving_from_workers_is_not_counted(num_workers, is_told) -> None:
    for images_per_s in (1.0, 1e6):
        said = verdict(ASKED, DataRate("decoding", num_workers, 99, images_per_s))
        assert ("not counting what receiving them from workers takes" in said) == is_told
