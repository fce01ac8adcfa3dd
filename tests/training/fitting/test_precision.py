"""What a recipe leaves to the device."""

from contextlib import nullcontext

import pytest
import torch

from training.fitting.precision import on_device
from training.fitting.recipes.idefics2_8b import idefics2_8b
from training.fitting.recipes.overrides import override
from training.fitting.recipes.tiny import tiny


def test_the_cpu_has_bfloat16() -> None:
    base = on_device(idefics2_8b(), "cpu").base
    assert (base.dtype, base.second_dtype) == ("bfloat16", "bfloat16")


@pytest.mark.parametrize(("has_bf16", "expected"), [(True, "bfloat16"), (False, "float16")])
def test_a_gpu_gets_what_it_computes_by_itself(monkeypatch, has_bf16, expected) -> None:
    asked = []

    def is_bf16_supported(*, including_emulation: bool) -> bool:
        asked.append(including_emulation)
        return has_bf16

    monkeypatch.setattr(torch.cuda, "device", lambda device: nullcontext())
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", is_bf16_supported)
    base = on_device(idefics2_8b(), "cuda:1").base
    assert (base.dtype, base.second_dtype) == (expected, expected)
    assert not any(asked)


def test_what_a_recipe_names_stays(monkeypatch) -> None:
    assert on_device(tiny(), "cpu") == tiny()
    named = override(idefics2_8b(), ["base.dtype=float16", "base.second_dtype=float32"])
    assert on_device(named, "cpu") == named


@pytest.mark.parametrize("name", ["dtype", "second_dtype"])
def test_another_type_is_refused(name) -> None:
    with pytest.raises(ValueError, match=rf"base\.{name} must be one of .*auto, got 'half'"):
        override(tiny(), [f"base.{name}=half"])
