"""The published Idefics2-8B has the very weights that are loaded: names and shapes from outside.

`idefics2_8b_weights.json` says where each name was read; the library's own class is no source.
"""

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from recsys.errors import CheckpointRefused
from recsys.scorer.idefics2 import FAMILY, build_config, build_on_meta, load_model

PUBLISHED = json.loads(Path(__file__).with_name("idefics2_8b_weights.json").read_text())
CONFIG = FAMILY.published[PUBLISHED["checkpoint"]]
SMALL = {
    "vision_width": 8,
    "vision_mlp": 12,
    "channels": 3,
    "patch": 2,
    "positions": 16,
    "latents": 2,
    "resampler_queries": 8,
    "resampler_keys": 4,
    "resampler_mlp": 32,
    "width": 8,
    "keys": 4,
    "mlp": 10,
    "vocabulary": 16,
}


def shapes(sizes: dict[str, int]) -> dict[str, tuple[int, ...]]:
    """Name -> shape of each weight, with all layers of the published model."""
    found = {}
    for pattern, axes in PUBLISHED["weights"].items():
        num_layers = PUBLISHED["layers"].get(pattern.partition("*")[0], 1)
        for number in range(num_layers):
            found[pattern.replace("*", str(number))] = tuple(sizes[axis] for axis in axes)
    return found


def small_config() -> dict[str, Any]:
    """As many layers as the published model has, of a few units."""
    vision, text = CONFIG["vision_config"], CONFIG["text_config"]
    return {
        "image_token_id": 3,
        "vision_config": vision
        | {"hidden_size": 8, "intermediate_size": 12, "num_attention_heads": 2}
        | {"image_size": 8, "patch_size": 2},
        "perceiver_config": CONFIG["perceiver_config"]
        | {"hidden_size": 8, "resampler_n_latents": 2, "resampler_n_heads": 2}
        | {"resampler_head_dim": 4, "num_key_value_heads": 1},
        "text_config": text
        | {"vocab_size": 16, "hidden_size": 8, "intermediate_size": 10, "head_dim": 4}
        | {"num_attention_heads": 2, "num_key_value_heads": 1, "pad_token_id": 0},
    }


@pytest.fixture
def weights() -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes(SMALL).items()}


@pytest.fixture
def folder(tmp_path) -> Path:
    build_config(small_config()).save_pretrained(tmp_path)
    return tmp_path


def test_the_fixture_is_as_large_as_published() -> None:
    full = shapes(PUBLISHED["sizes"])
    # The vision tower 16 a layer and 5 others, the connector 10 and 5, the text model 9 and 2.
    assert len(full) == 27 * 16 + 5 + 3 * 10 + 5 + 32 * 9 + 2 + 1
    # Mistral-7B v0.1 has 7,241,732,096 parameters with 32,000 words; here there are three more.
    text = sum(math.prod(s) for name, s in full.items() if "text_model" in name or "lm_" in name)
    assert text == 7_241_732_096 + 2 * 3 * 4096


def test_the_model_that_runs_are_counted_with_has_the_published_weights() -> None:
    counted = {name: tuple(each.shape) for name, each in build_on_meta(CONFIG).state_dict().items()}
    assert counted == shapes(PUBLISHED["sizes"])


def test_the_published_file_loads_at_its_full_shape(tmp_path, monkeypatch) -> None:
    """On the meta device, of a file without a byte on the disk behind its header."""
    build_config(CONFIG).save_pretrained(tmp_path)
    header, end = {}, 0
    for name, shape in shapes(PUBLISHED["sizes"]).items():
        start, end = end, end + 2 * math.prod(shape)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    with (tmp_path / "model.safetensors").open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
    monkeypatch.setattr("recsys.scorer.pretrained.require_device", lambda device: None)
    model = load_model(tmp_path, dtype=torch.float16, device="meta")
    assert sum(each.numel() for each in model.parameters()) == 8_402_768_112
    assert {each.dtype for each in model.parameters()} == {torch.float16}


def test_each_published_weight_arrives_where_its_name_says(folder, weights) -> None:
    """In several files with an index, as published."""
    names = sorted(weights)
    index = {}
    for number in range(3):
        file = f"model-{number + 1:05}-of-00003.safetensors"
        index |= dict.fromkeys(names[number::3], file)
        save_file({n: weights[n] for n in names[number::3]}, folder / file)
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {}, "weight_map": index})
    )
    loaded = load_model(folder).state_dict()
    assert set(loaded) == set(weights)
    assert [name for name in names if not torch.equal(loaded[name], weights[name])] == []


def test_an_export_of_before_the_conversion_is_refused_by_its_names(folder, weights) -> None:
    """The authors' own layout; the library would draw what it does not find at random."""
    older = {}
    for name, weight in weights.items():
        for new, old in PUBLISHED["before_conversion"].items():
            name = name.replace(new, old) if name.startswith(new) else name
        older[name] = weight
    save_file(older, folder / "model.safetensors")
    with pytest.raises(CheckpointRefused, match=r"got 325 missing, e\.g\. model\.connector.* and"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("missing", r"got 1 missing, e\.g\. lm_head\.weight"),
        ("more", r"got 1 of no such model, e\.g\. model\.text_model\.gate"),
        ("other shape", "must be a readable Idefics2ForConditionalGeneration"),
    ],
)
def test_a_base_with_other_weights_is_refused(folder, weights, change, message) -> None:
    if change == "missing":
        del weights["lm_head.weight"]
    elif change == "more":
        weights["model.text_model.gate"] = torch.zeros(2)
    else:
        weights["lm_head.weight"] = torch.zeros(17, 8)
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(CheckpointRefused, match=message):
        load_model(folder)
