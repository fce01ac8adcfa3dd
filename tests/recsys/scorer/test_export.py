"""A checkpoint in one folder: of the same version and scores, needing nothing from outside."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from recsys.errors import CheckpointRefused
from recsys.scorer.audiences import load_audience
from recsys.scorer.base_model import BaseModel
from recsys.scorer.checkpoint import load_scorer, save_adapted, save_scorer
from recsys.scorer.config import ScorerConfig
from recsys.scorer.digests import model_version
from recsys.scorer.export import export_checkpoint
from recsys.scorer.model import PreferenceScorer
from recsys.scorer.photo import published_tower
from recsys.scorer.registry import FAMILIES
from recsys.scorer.template import Template, TemplateConfig
from training.fitting.pretraining.photo_base import (
    PhotoShape,
    build_photo_model,
    save_photo_model,
)

OVER = FAMILIES


@pytest.fixture
def base(small, model, tmp_path) -> Path:
    small.save(model, tmp_path / "base")
    return tmp_path / "base"


def gone(folder: Path) -> None:
    """As on another machine."""
    folder.rename(folder.with_name("gone"))


def scores(folder: Path, references, candidates) -> torch.Tensor:
    scorer = load_scorer(folder)
    return scorer.score(scorer.prefix(references), candidates)


def test_a_base_that_lies_elsewhere_is_taken_along(
    scorer, base, tokenizer, tmp_path, references, candidates
) -> None:
    folder, out = tmp_path / "checkpoint", tmp_path / "out"
    version = save_scorer(scorer, folder, base=BaseModel(str(base)), tokenizer=tokenizer)
    before = scores(folder, references, candidates)
    assert export_checkpoint(folder, out) == version
    gone(base)
    assert load_scorer(out, verifies_base=True).model_version == version
    assert torch.equal(scores(out, references, candidates), before)
    assert {path.name for path in folder.iterdir()} | {"base"} == {p.name for p in out.iterdir()}


def test_a_base_that_was_moved_is_found_where_it_is_said_to_lie(
    scorer, base, tokenizer, tmp_path
) -> None:
    save_scorer(scorer, tmp_path / "c", base=BaseModel(str(base)), tokenizer=tokenizer)
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(CheckpointRefused, match="is not there"):
        export_checkpoint(tmp_path / "c", tmp_path / "out")
    assert not (tmp_path / "out").exists()
    version = export_checkpoint(tmp_path / "c", tmp_path / "out", base=moved)
    assert export_checkpoint(tmp_path / "out", tmp_path / "again") == version


def test_a_base_that_was_taken_along_and_changed_is_refused(
    scorer, base, tokenizer, tmp_path
) -> None:
    save_scorer(scorer, tmp_path / "c", base=BaseModel(str(base)), tokenizer=tokenizer)
    export_checkpoint(tmp_path / "c", tmp_path / "out")
    path = tmp_path / "out" / "base" / "model.safetensors"
    weights = {name: each + 0.5 for name, each in load_file(path).items()}
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointRefused, match="made for another base"):
        load_scorer(tmp_path / "out")


def test_a_carried_base_is_copied(save_checkpoint, tmp_path, references, candidates) -> None:
    folder = save_checkpoint(tmp_path / "small")
    version = export_checkpoint(folder, tmp_path / "out")
    written = {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*.*")}
    copied = {
        p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*.*")
    }
    assert written.keys() == copied.keys()
    assert load_scorer(tmp_path / "out").model_version == version
    assert torch.equal(
        scores(folder, references[:2], candidates),
        scores(tmp_path / "out", references[:2], candidates),
    )


def test_an_audience_of_the_checkpoint_is_one_of_the_exported(
    scorer, base, tokenizer, tmp_path
) -> None:
    folder, out = tmp_path / "checkpoint", tmp_path / "out"
    save_scorer(scorer, folder, base=BaseModel(str(base)), tokenizer=tokenizer)
    export_checkpoint(folder, out)
    parent = load_scorer(folder, merges_adapter=False)
    parent.preference_tokens += 1
    version = save_adapted(parent, tmp_path / "north", parent=folder)
    served = load_scorer(out)
    assert load_audience(tmp_path / "north", served, served=out).model_version == version


def test_nothing_is_written_over(save_checkpoint, tmp_path) -> None:
    folder, taken = save_checkpoint(tmp_path / "small"), tmp_path / "taken"
    taken.mkdir()
    assert export_checkpoint(folder, taken)
    for out in (taken, folder, folder / "inside"):
        with pytest.raises(ValueError, match="must be a new one or empty, and outside"):
            export_checkpoint(folder, out)


def test_a_base_of_unknown_digest_is_not_taken_along(scorer, base, tokenizer, tmp_path) -> None:
    folder = tmp_path / "old"
    save_scorer(scorer, folder, base=BaseModel(str(base)), tokenizer=tokenizer)
    config = json.loads((folder / "scorer.json").read_text())
    for key in ("weights_sha256", "sample_sha256"):
        del config["base"][key]
    config["model_version"] = model_version(folder, config)
    (folder / "scorer.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointRefused, match="must tell the digest of its base to be exported"):
        export_checkpoint(folder, tmp_path / "out")


def test_an_exported_checkpoint_needs_no_package_and_refuses_another_tower(
    tokenizer, tmp_path, monkeypatch, references, candidates
) -> None:
    """On EfficientNet-Lite0, as what is trained has it."""
    shape = PhotoShape(layers=1)
    model = build_photo_model(shape, vocabulary=len(tokenizer), seed=1)
    save_photo_model(model, tmp_path / "base")
    backbone = FAMILIES["photo"].wrap(model)
    template = Template(tokenizer, TemplateConfig(), image=backbone.image_markup)
    scorer = PreferenceScorer(
        backbone, template, geometry=shape.geometry, config=ScorerConfig(num_references=4)
    ).eval()
    folder, out = tmp_path / "checkpoint", tmp_path / "out"
    version = save_scorer(
        scorer, folder, base=BaseModel("base"), tokenizer=tokenizer, base_files=tmp_path / "base"
    )
    before = scores(folder, references, candidates)
    assert not (folder / "base" / "tower.safetensors").exists()
    assert export_checkpoint(folder, out) == version
    monkeypatch.setattr(published_tower, "find_spec", lambda name: None)
    assert load_scorer(out).model_version == version
    assert torch.equal(scores(out, references, candidates), before)
    tower = load_file(out / "base" / "tower.safetensors")
    save_file({**tower, "head.shift": tower["head.shift"] + 1}, out / "base" / "tower.safetensors")
    with pytest.raises(CheckpointRefused, match="needs a vision tower of SHA-256"):
        load_scorer(out)
