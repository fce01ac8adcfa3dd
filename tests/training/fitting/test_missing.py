"""What a machine lacks is named, and what it has is not."""

from dataclasses import replace

import pytest

from training.fitting.missing import missing
from training.fitting.recipes.idefics2_8b import idefics2_8b
from training.fitting.recipes.tiny import tiny


def named(recipe, **options) -> str:
    return " ".join(missing(recipe, memory_bytes=1e9, **options))


def test_weights_of_a_hub_are_looked_for_and_not_fetched(monkeypatch) -> None:
    monkeypatch.setattr("training.fitting.missing.try_to_load_from_cache", lambda *_, **__: None)
    assert "weights: HuggingFaceM4/idefics2-8b" in named(idefics2_8b())
    monkeypatch.setattr(
        "training.fitting.missing.try_to_load_from_cache", lambda *_, **__: "config.json"
    )
    assert "weights" not in named(idefics2_8b())


def test_a_folder_needs_no_hub(tmp_path) -> None:
    recipe = idefics2_8b()
    recipe = replace(recipe, base=replace(recipe.base, source=str(tmp_path)))
    assert "weights" not in named(recipe)


def test_a_base_that_is_named_later_is_asked_for() -> None:
    assert named(tiny()) == "weights: name a base model with --base"


@pytest.mark.parametrize("is_there", [True, False])
def test_4_bits_need_bitsandbytes(monkeypatch, is_there: bool) -> None:
    monkeypatch.setattr(
        "training.fitting.missing.find_spec", lambda name: object() if is_there else None
    )
    assert ("bitsandbytes" in named(idefics2_8b())) != is_there


def test_gpus_are_counted_and_measured(monkeypatch) -> None:
    class Small:
        total_memory = 200_000_000

    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    monkeypatch.setattr("torch.cuda.get_device_properties", lambda _: Small())
    lines = named(idefics2_8b(), num_devices=8)
    assert "GPUs: the run needs 8, this machine has 1" in lines
    assert "memory: the run needs 1 GB on each GPU" in lines
