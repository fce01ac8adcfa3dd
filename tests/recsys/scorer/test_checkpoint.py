"""Scorers on disk: what is saved is what is loaded, and damage is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from recsys.errors import CheckpointRefused, NotFound, PreconditionFailed
from recsys.scorer.adapter import LoraShape, add_adapter
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import load_scorer, model_version, save_scorer
from recsys.scorer.config import ScorerConfig
from recsys.scorer.idefics2 import DECODER_TARGETS, Idefics2Backbone, image_markup, load_model
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.registry import FAMILIES
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining.tiny_base import TinyShape, build_model

OVER = FAMILIES
LORA = LoraShape(rank=2, alpha=4, dropout=0.0, targets=DECODER_TARGETS)


@pytest.fixture
def base(small, model, tokenizer, tmp_path) -> Path:
    folder = tmp_path / "base"
    small.save(model, folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture
def adapted(small, scorer, base) -> PreferenceScorer:
    """A scorer whose adapter does something."""
    scorer.backbone = small.family.wrap(add_adapter(scorer.backbone.model, LORA))
    for name, parameter in scorer.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    return scorer


@pytest.fixture
def checkpoint(adapted, base, tokenizer, tmp_path) -> Path:
    folder = tmp_path / "checkpoint"
    save_scorer(
        adapted, folder, base=BaseModel("base"), tokenizer=tokenizer, base_files=base, card="# x"
    )
    return folder


def test_scores_after_reload_equal_those_before(
    adapted, checkpoint, references, candidates
) -> None:
    before = adapted.score(adapted.prefix(references), candidates)
    loaded = load_scorer(checkpoint, merges_adapter=False)
    after = loaded.score(loaded.prefix(references), candidates)
    assert torch.equal(before, after)
    assert loaded.model_version == adapted.model_version
    assert not any(parameter.requires_grad for parameter in loaded.parameters())


def test_a_base_outside_the_checkpoint_is_found_by_its_folder(
    adapted, base, tokenizer, tmp_path, references, candidates
) -> None:
    folder = tmp_path / "outside"
    save_scorer(adapted, folder, base=BaseModel(str(base)), tokenizer=tokenizer)
    assert not (folder / "base").exists()
    loaded = load_scorer(folder, merges_adapter=False)
    assert torch.equal(
        loaded.score(loaded.prefix(references), candidates),
        adapted.score(adapted.prefix(references), candidates),
    )


@pytest.mark.parametrize(
    "part", ["preference_tokens", "lora", "label", "base", "geometry"], ids=lambda part: part
)
def test_the_model_version_covers_all_that_decides_a_score(
    adapted, base, tokenizer, tmp_path, checkpoint, part
) -> None:
    first = adapted.model_version
    if part == "preference_tokens":
        adapted.preference_tokens.data[0, 0] += 1e-3
    elif part == "lora":
        next(p for n, p in adapted.named_parameters() if "lora_A" in n).data[0, 0] += 1e-3
    elif part == "label":
        object.__setattr__(adapted.template.config, "after_prompt", " Score?")
    elif part == "geometry":
        object.__setattr__(adapted.geometry, "square_px", 32)
    else:
        config = json.loads((base / "config.json").read_text())
        (base / "config.json").write_text(json.dumps({**config, "note": 1}))
    second = save_scorer(
        adapted, tmp_path / "b", base=BaseModel("base"), tokenizer=tokenizer, base_files=base
    )
    assert second != first
    object.__setattr__(adapted.template.config, "after_prompt", ". Score for this image?")
    object.__setattr__(adapted.geometry, "square_px", 16)


def test_the_same_scorer_has_the_same_version_wherever_it_lies(checkpoint, tmp_path) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(checkpoint, moved)
    config = json.loads((moved / "scorer.json").read_text())
    assert model_version(moved, config) == config["model_version"]


@pytest.mark.parametrize(
    "name",
    [
        "scorer.json",
        "preference_tokens.safetensors",
        "tokenizer/tokenizer.json",
        "adapter/adapter_config.json",
        "adapter/adapter_model.safetensors",
        "base/config.json",
        "base/model.safetensors",
    ],
)
@pytest.mark.parametrize("damage", ["missing", "truncated"])
def test_a_missing_or_truncated_file_is_refused(checkpoint, name, damage) -> None:
    path = checkpoint / name
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(CheckpointRefused, match=r"checkpoint|scorer\.json"):
        load_scorer(checkpoint)


def sign_again(checkpoint: Path) -> None:
    """As if somebody had made the checkpoint so."""
    path = checkpoint / "scorer.json"
    config = json.loads(path.read_text())
    config["model_version"] = model_version(checkpoint, config)
    path.write_text(json.dumps(config))


@pytest.mark.parametrize(
    "name", ["preference_tokens.safetensors", "adapter/adapter_model.safetensors"]
)
def test_a_truncated_file_is_refused_by_name_even_when_signed(checkpoint, name) -> None:
    path = checkpoint / name
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    sign_again(checkpoint)
    with pytest.raises(CheckpointRefused, match=name.split("/")[0].split(".")[0]):
        load_scorer(checkpoint)


def test_preference_tokens_for_another_base_are_refused(checkpoint) -> None:
    save_file(
        {"preference_tokens": torch.zeros(3, 48)}, checkpoint / "preference_tokens.safetensors"
    )
    sign_again(checkpoint)
    with pytest.raises(CheckpointRefused, match=r"must have shape \(3, 32\).*got \(3, 48\)"):
        load_scorer(checkpoint)


def test_a_base_that_changed_since_is_refused(adapted, base, tokenizer, tmp_path) -> None:
    folder = tmp_path / "outside"
    save_scorer(adapted, folder, base=BaseModel(str(base)), tokenizer=tokenizer)
    config = json.loads((base / "config.json").read_text())
    (base / "config.json").write_text(json.dumps({**config, "note": 1}))
    with pytest.raises(CheckpointRefused, match="made for another base"):
        load_scorer(folder)


def test_pickled_weights_are_never_read(checkpoint) -> None:
    adapter = checkpoint / "adapter"
    torch.save({"x": torch.zeros(1)}, adapter / "adapter_model.bin")
    (adapter / "adapter_model.safetensors").unlink()
    sign_again(checkpoint)
    with pytest.raises(CheckpointRefused, match=r"adapter_model\.safetensors is missing"):
        load_scorer(checkpoint)


def test_an_unknown_name_is_not_found_and_another_folder_is_refused(tmp_path) -> None:
    with pytest.raises(NotFound, match="there is no checkpoint no-such-scorer"):
        load_scorer("no-such-scorer")
    with pytest.raises(CheckpointRefused, match=r"a checkpoint has a scorer\.json"):
        load_scorer(tmp_path)


def test_saving_over_a_checkpoint_leaves_one_whole(checkpoint, adapted, base, tokenizer) -> None:
    adapted.preference_tokens.data += 1
    version = save_scorer(
        adapted, checkpoint, base=BaseModel("base"), tokenizer=tokenizer, base_files=base
    )
    assert load_scorer(checkpoint).model_version == version
    assert [p.name for p in checkpoint.parent.iterdir() if p.name.startswith(".")] == []


def test_a_failed_save_leaves_the_old_one(
    checkpoint, adapted, base, tokenizer, monkeypatch
) -> None:
    before = load_scorer(checkpoint).model_version

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("recsys.scorer.checkpoint.save_file", full)
    with pytest.raises(OSError, match="No space"):
        save_scorer(
            adapted, checkpoint, base=BaseModel("base"), tokenizer=tokenizer, base_files=base
        )
    assert load_scorer(checkpoint).model_version == before
    assert [p.name for p in checkpoint.parent.iterdir() if p.name.startswith(".")] == []


def test_a_quantised_base_gives_the_same_scores_after_reload(
    tokenizer, tmp_path, references, candidates
) -> None:
    """Real 4-bit layers on the CPU: NF4 base, float32 adapter and preference tokens."""
    shape = TinyShape(
        image_px=16,
        vision_width=64,
        vision_layers=1,
        num_latents=2,
        width=128,
        layers=1,
        key_value_heads=4,
        mlp_width=128,
    )
    image = tokenizer.convert_tokens_to_ids("<image>")
    base = tmp_path / "base"
    build_model(shape, vocabulary=len(tokenizer), image_token=image, seed=1).save_pretrained(base)
    model = add_adapter(load_model(base, quantization="nf4"), LORA)
    assert "Linear4bit" in {type(module).__name__ for module in model.modules()}
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.3)
    template = Template(tokenizer, TemplateConfig(), image=image_markup(shape.num_latents))
    scorer = PreferenceScorer(
        Idefics2Backbone(model), template, geometry=shape.geometry, config=ScorerConfig()
    ).eval()
    before = scorer.score(scorer.prefix(references), candidates)
    folder = tmp_path / "nf4"
    save_scorer(scorer, folder, base=BaseModel(str(base), quantization="nf4"), tokenizer=tokenizer)
    loaded = load_scorer(folder)
    assert torch.equal(loaded.score(loaded.prefix(references), candidates), before)


def test_a_quantised_base_without_bitsandbytes_is_told_what_to_install(base, monkeypatch) -> None:
    monkeypatch.setattr("recsys.scorer.pretrained.find_spec", lambda name: None)
    with pytest.raises(PreconditionFailed, match=r"needs bitsandbytes, .*recsys-images\[gpu\]"):
        load_model(base, quantization="nf4")


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_a_checkpoint_computes_in_the_type_that_is_asked_for(
    checkpoint, references, candidates, dtype
) -> None:
    exact, rounded = load_scorer(checkpoint), load_scorer(checkpoint, dtype=dtype)
    assert (exact.backbone.dtype, rounded.backbone.dtype) == (torch.float32, getattr(torch, dtype))
    assert rounded.model_version == exact.model_version
    prefix = rounded.prefix(references)
    assert {each.dtype for layer in prefix.key_values.layers for each in layer} == {
        rounded.backbone.dtype
    }
    expected = exact.score(exact.prefix(references), candidates)
    torch.testing.assert_close(rounded.score(prefix, candidates), expected, rtol=0, atol=0.02)


def test_the_config_keeps_the_keys_of_its_format(adapted, checkpoint) -> None:
    written = json.loads((checkpoint / "scorer.json").read_text())["scorer"]
    assert written["max_packed_targets"] == adapted.config.max_packed_candidates == 4
    assert load_scorer(checkpoint).config == adapted.config
