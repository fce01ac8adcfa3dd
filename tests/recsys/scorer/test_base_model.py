"""The base of a checkpoint: found where it lies, offline too, and refused where it is another."""

import json
import shutil
from pathlib import Path

import huggingface_hub.constants as hub
import pytest
import torch
from huggingface_hub._tree_cache import TreeCacheEntry, write_tree_cache
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from recsys.errors import CheckpointRefused
from recsys.runtime import Runtime
from recsys.scorer.base_model import BaseModel, find_base
from recsys.scorer.checkpoint import load_scorer, save_scorer
from recsys.scorer.digests import (
    files_digest,
    model_version,
    sampled_weights_digest,
    weights_digest,
)
from recsys.scorer.pretrained import load_tokenizer
from recsys.settings import Settings

ID = "Somebody/idefics2-small"
COMMIT = "3f1c" * 10


@pytest.fixture
def base(model, tmp_path) -> Path:
    folder = tmp_path / "base"
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def cache(base, tmp_path, monkeypatch) -> Path:
    """The hub's cache with the base in it, and no network."""
    folder = tmp_path / "hub"
    repository = folder / f"models--{ID.replace('/', '--')}"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text(COMMIT)
    shutil.copytree(base, repository / "snapshots" / COMMIT)
    monkeypatch.setattr(hub, "HF_HUB_CACHE", str(folder))
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", True)
    return repository / "snapshots" / COMMIT


@pytest.fixture
def save(scorer, tokenizer, tmp_path):
    def call(base: BaseModel, name: str = "checkpoint") -> Path:
        save_scorer(scorer, tmp_path / name, base=base, tokenizer=tokenizer)
        return tmp_path / name

    return call


def test_a_folder_without_a_tokenizer_is_refused(base, tokenizer) -> None:
    with pytest.raises(CheckpointRefused, match="must have its tokenizer beside its weights"):
        load_tokenizer(base)
    tokenizer.save_pretrained(base)
    assert len(load_tokenizer(base)) == len(tokenizer)


def changed(folder: Path) -> None:
    """As if the base had been trained further: the same names, shapes and sizes."""
    weights = load_file(folder / "model.safetensors")
    save_file({name: each + 0.5 for name, each in weights.items()}, folder / "model.safetensors")


def test_a_base_of_the_hub_is_named_by_its_commit_and_loaded_from_the_cache(cache, save) -> None:
    files = find_base(ID)
    assert (files.folder, files.revision) == (cache, COMMIT)
    folder = save(BaseModel(ID, files.revision).known_by(files.folder))
    written = json.loads((folder / "scorer.json").read_text())["base"]
    assert (written["source"], written["revision"]) == (ID, COMMIT)
    assert written["weights_sha256"] == weights_digest(cache)
    (cache.parents[1] / "refs/main").write_text("0" * 40)  # a newer revision, which is not cached
    assert load_scorer(folder).model_version


def left_out(folder: Path) -> str:
    """As if a download had been cut off: the second of two files of weights is not there."""
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    save_file(weights, folder / names[0], metadata={"format": "pt"})
    index = {"weight_map": dict(zip(list(weights)[:2], names, strict=True))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return names[1]


def test_a_base_that_is_there_in_part_is_refused_when_it_is_looked_for(base, cache) -> None:
    name = left_out(cache)
    with pytest.raises(CheckpointRefused, match=f"{ID} in the hub's cache.*lacks {name}: copy or"):
        find_base(ID)
    left_out(base)
    with pytest.raises(
        CheckpointRefused, match=f"^base model {base} is incomplete, it lacks {name}"
    ):
        find_base(base)


def test_a_download_that_the_hubs_client_knows_to_be_cut_off_is_told_as_such(cache) -> None:
    files = {path.name: TreeCacheEntry(1, "0" * 40) for path in cache.iterdir()}
    write_tree_cache(str(cache.parents[1]), COMMIT, files)
    assert find_base(ID).folder == cache
    (cache / "model.safetensors").unlink()
    with pytest.raises(CheckpointRefused, match="the hub's cache has a part of it alone: download"):
        find_base(ID)


def test_what_the_hub_has_not_is_refused_in_a_sentence(cache, tmp_path) -> None:
    with pytest.raises(CheckpointRefused, match="must be a folder, or an id that the hub or its"):
        find_base("Somebody/else")
    with pytest.raises(
        CheckpointRefused, match=r"must be a folder, and is not there.*setting base"
    ):
        find_base(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("nowhere", r"no such folder, and the hub could not be asked \(HF_HUB_OFFLINE is set\)"),
        ("base/of/mine", "no such folder, and that is no id of the hub"),
        ("base/config.json", "must be a folder, and is a file"),
        ("empty", "has no config.json: name the folder"),
    ],
)
def test_a_mistyped_base_is_told_in_one_sentence(
    base, cache, tmp_path, monkeypatch, source, why
) -> None:
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointRefused, match=why) as refused:
        find_base(source)
    assert "\n" not in str(refused.value)
    assert ". " not in str(refused.value)


def test_a_hub_that_cannot_be_reached_is_told_by_its_first_reason(monkeypatch) -> None:
    def download(*_: object, **__: object) -> str:
        raise LocalEntryNotFoundError("Got: ConnectError: no network\nCheck it. Try again.")

    monkeypatch.setattr("recsys.scorer.base_model.snapshot_download", download)
    monkeypatch.setattr(hub, "HF_HUB_OFFLINE", False)
    with pytest.raises(CheckpointRefused, match=r"asked \(ConnectError: no network\)$"):
        find_base("Somebody/else")


def test_a_base_that_was_moved_is_named_by_the_setting(base, save, tmp_path) -> None:
    folder = save(BaseModel(str(base)))
    moved = base.rename(tmp_path / "moved")
    with pytest.raises(CheckpointRefused, match="is not there"):
        load_scorer(folder)
    with Runtime(Settings(checkpoint=str(folder), base=str(moved))) as runtime:
        assert runtime.scorer.model_version == runtime.model_version


def test_the_same_weights_give_the_same_version_wherever_they_lie(base, cache, save) -> None:
    versions = {
        load_scorer(folder).model_version
        for folder in (
            save(BaseModel(str(base)), "of a folder"),
            save(BaseModel(ID, COMMIT).known_by(cache), "of the hub"),
        )
    }
    assert len(versions) == 1
    changed(base)
    assert load_scorer(save(BaseModel(str(base)), "of another")).model_version not in versions


@pytest.mark.parametrize("verifies", [False, True])
def test_a_base_that_was_trained_further_is_refused(base, save, verifies) -> None:
    folder = save(BaseModel(str(base)))
    load_scorer(folder, verifies_base=verifies)
    changed(base)
    with pytest.raises(
        CheckpointRefused, match=r"made for another base than .*SHA-256 [0-9a-f]{12}"
    ):
        load_scorer(folder, verifies_base=verifies)


def test_another_base_in_place_of_the_recorded_one_is_refused(base, cache, save) -> None:
    folder = save(BaseModel(ID, COMMIT).known_by(cache))
    load_scorer(folder, base=base)
    changed(base)
    with pytest.raises(CheckpointRefused, match=f"weights of {ID} at {COMMIT[:12]}"):
        load_scorer(folder, base=base)


def test_one_changed_number_is_found_when_all_bytes_are_read(base, save) -> None:
    folder = save(BaseModel(str(base)))
    path = base / "model.safetensors"
    weights = load_file(path)
    largest = max(weights.values(), key=torch.Tensor.numel)
    largest.view(-1)[0] += 1
    save_file(weights, path, metadata={"format": "pt"})
    load_scorer(folder)
    with pytest.raises(CheckpointRefused, match="made for another base"):
        load_scorer(folder, verifies_base=True)


@pytest.mark.parametrize("digest", [weights_digest, sampled_weights_digest])
@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
def test_a_base_that_lacks_a_file_is_refused(base, digest, name) -> None:
    (base / name).unlink()
    with pytest.raises(CheckpointRefused, match=f"is incomplete or damaged.*{name}"):
        digest(base)


@pytest.mark.parametrize("content", [b"", b"\x40" + bytes(7) + b"{"])
def test_a_truncated_header_is_refused(base, content) -> None:
    (base / "model.safetensors").write_bytes(content)
    with pytest.raises(CheckpointRefused, match="is incomplete or damaged"):
        sampled_weights_digest(base)


@pytest.mark.parametrize(
    "damaged", [lambda whole: b"\xff" * 8 + whole[8:], lambda whole: whole[:-100]]
)
def test_a_damaged_file_of_weights_is_named(base, damaged) -> None:
    path = base / "model.safetensors"
    path.write_bytes(damaged(path.read_bytes()))
    with pytest.raises(
        CheckpointRefused, match=r": model\.safetensors: .*download this file again"
    ):
        BaseModel(str(base)).known_by(base)


def test_files_with_an_index_are_all_digested(base) -> None:
    weights = load_file(base / "model.safetensors")
    whole = weights_digest(base), sampled_weights_digest(base)
    (base / "model.safetensors").unlink()
    names = sorted(weights)
    index = {}
    for number in (0, 1):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        save_file({name: weights[name] for name in names[number::2]}, base / file)
        index |= dict.fromkeys(names[number::2], file)
    (base / "model.safetensors.index.json").write_text(json.dumps({"weight_map": index}))
    split = weights_digest(base), sampled_weights_digest(base)
    assert set(split).isdisjoint(whole)
    changed_part = load_file(base / file)
    save_file({name: each + 1 for name, each in changed_part.items()}, base / file)
    assert (weights_digest(base), sampled_weights_digest(base)) != split


def test_a_base_recorded_without_a_digest_is_read_as_before(base, save) -> None:
    """Checkpoints of before that: by hub id alone, or by the digest of a folder's files."""
    folder = save(BaseModel(str(base)))
    path = folder / "scorer.json"
    config = json.loads(path.read_text())
    for key in ("weights_sha256", "sample_sha256"):
        del config["base"][key]
    config["base"]["digest"] = files_digest(base)
    config["model_version"] = model_version(folder, config)
    path.write_text(json.dumps(config))
    assert load_scorer(folder).model_version == config["model_version"]
    changed(base)
    with pytest.raises(CheckpointRefused, match="made for another base"):
        load_scorer(folder)
