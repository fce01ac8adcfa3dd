"""What a machine lacks is named, and what it has is not."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from recsys.errors import SettingsRefused
from recsys.scorer.checkpoint import find_checkpoint
from training.fitting.missing import missing
from training.fitting.recipes.idefics2_8b import idefics2_8b
from training.fitting.recipes.tiny import tiny


def named(recipe, **options) -> str:
    return " ".join(missing(recipe, memory_bytes=1e9, **options))


@pytest.fixture
def base(tmp_path) -> Path:
    for part in ("base", "tokenizer"):
        shutil.copytree(find_checkpoint("tiny") / part, tmp_path / "base", dirs_exist_ok=True)
    return tmp_path / "base"


def test_weights_of_a_hub_are_looked_for_and_not_fetched(base, monkeypatch) -> None:
    cached = "training.fitting.missing.try_to_load_from_cache"
    monkeypatch.setattr(cached, lambda *_, **__: None)
    assert "weights: HuggingFaceM4/idefics2-8b" in named(idefics2_8b())
    monkeypatch.setattr(cached, lambda *_, **__: str(base / "config.json"))
    assert "weights" not in named(idefics2_8b())


def test_weights_that_a_download_has_left_out_are_named(base, monkeypatch) -> None:
    cached = "training.fitting.missing.try_to_load_from_cache"
    monkeypatch.setattr(cached, lambda *_, **__: str(base / "config.json"))
    (base / "model.safetensors").rename(base / "model-00001-of-00002.safetensors")
    index = {"weight_map": {name: f"model-0000{name}-of-00002.safetensors" for name in "12"}}
    (base / "model.safetensors.index.json").write_text(json.dumps(index))
    assert "incomplete or damaged: model-00002-of-00002.safetensors" in named(idefics2_8b())


def test_a_folder_needs_no_hub(base) -> None:
    recipe = idefics2_8b()
    recipe = replace(recipe, base=replace(recipe.base, source=str(base)))
    assert "weights" not in named(recipe)
    (base / "config.json").unlink()
    assert f"weights: {base} has no config.json" in named(recipe)


def test_a_base_that_is_named_stands_in_for_the_recipes(base) -> None:
    assert f"weights: {base}/nowhere is neither" in named(idefics2_8b(), base=f"{base}/nowhere")
    assert "weights" not in named(idefics2_8b(), base=str(base))
    assert named(tiny(), base=str(base)) == ""


def test_what_training_would_refuse_of_a_base_is_named(base) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    assert ": model.safetensors: " in named(tiny(), base=str(base))
    for file in base.glob("tokenizer*"):
        file.unlink()
    lines = list(missing(tiny(), memory_bytes=1e9, base=str(base)))
    assert [line.split(":")[0] for line in lines] == ["weights", "tokenizer"]
    assert "must have its tokenizer beside its weights" in lines[1]
    assert not any("\n" in line for line in lines)


def test_the_device_that_is_named_is_looked_at(monkeypatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    assert "CUDA: the run needs 1 GPU, this machine" in named(tiny(), device="cuda")
    assert "CUDA" not in named(idefics2_8b(), device="cpu")
    monkeypatch.setattr("training.fitting.missing.free_memory_bytes", lambda _: 200_000_000)
    assert "memory: the run needs 1.0 GB, this machine has 0.2" in named(tiny(), device="cpu")
    with pytest.raises(SettingsRefused, match="device must be cpu"):
        named(tiny(), device="gpu")


def test_the_memory_is_that_of_the_gpu_that_is_named(monkeypatch) -> None:
    sizes = [SimpleNamespace(total_memory=size) for size in (200_000_000, 2_000_000_000)]
    monkeypatch.setattr("torch.cuda.is_available", lambda: True)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    monkeypatch.setattr("torch.cuda.get_device_properties", sizes.__getitem__)
    monkeypatch.setattr("torch.backends.cuda.is_built", lambda: True)
    assert "memory" in named(idefics2_8b(), device="cuda:0")
    assert "memory" not in named(idefics2_8b(), device="cuda:1")
    assert "GPUs: the run needs 4, this machine has 2" in named(idefics2_8b(), device="cuda:3")


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
