"""What a checkpoint is known by: digests of its files, and the model version over all of them."""

import hashlib
import json
import os
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from recsys.errors import CheckpointRefused

_HASHED_WHOLE_BYTES = 1 << 26
_SAMPLE_BYTES = 1 << 20
_TENSOR_SAMPLE_BYTES = 1 << 12
_PLACE = ("source", "revision")
_DIGESTED = (".json", ".safetensors", ".model", ".image")

TOWER = "tower.safetensors"
"""A vision tower that a base has from elsewhere, where it travels along. The base's config.json
tells its digest, so that it is in no other: with it and without it a checkpoint is the same."""


def model_version(folder: Path, config: dict[str, Any]) -> str:
    """SHA-256 of all that decides a score or a signature: config, P_v, adapter, and so on.

    A base outside the checkpoint counts by the digest of its weights, wherever it lies, and so it
    does when it was exported into the checkpoint; one that was recorded without counts by id and
    revision.
    """
    digest = hashlib.sha256()
    digest.update(json.dumps(_signed(config), sort_keys=True).encode())
    for part in ("preference_tokens.safetensors", "adapter", "tokenizer"):
        digest.update(f"{part}:{files_digest(folder / part)}".encode())
    is_recorded = bool(config["base"].get("weights_sha256"))
    digest.update(f"base:{'' if is_recorded else files_digest(folder / 'base')}".encode())
    if (folder / "signature").is_dir():
        digest.update(f"signature:{files_digest(folder / 'signature')}".encode())
    return digest.hexdigest()


def inherited_parts(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What a checkpoint that was adapted has of its parent, by name: equal parts are the same."""
    signed = _signed(config)
    parts = ("base", "adapter", "tokenizer", "template", "geometry")
    inherited = {part: (signed.get(part), files_digest(folder / part)) for part in parts}
    if config["base"].get("weights_sha256"):
        inherited["base"] = (signed["base"], "")
    return inherited | {"limit on what it reads": {**signed["scorer"], "temperature": None}}


def _signed(config: dict[str, Any]) -> dict[str, Any]:
    """What of scorer.json the model version covers."""
    signed = {key: value for key, value in config.items() if key != "model_version"}
    if config["base"].get("weights_sha256"):
        base = {key: value for key, value in config["base"].items() if key not in _PLACE}
        signed |= {"base": base}
    return signed


def files_digest(path: Path) -> str:
    """Digest of a file or of all weights and JSON in a folder; empty when there is nothing.

    A file past 64 MiB counts by size, head and tail: hashing 16 GB at each start would take a
    minute.
    """
    if path.is_file():
        return _file_digest(path)
    digest = hashlib.sha256()
    found = (p for p in path.rglob("*") if p.suffix in _DIGESTED and p.name != TOWER)
    files = sorted(found)
    for file in files:
        digest.update(f"{file.relative_to(path).as_posix()}:{_file_digest(file)}".encode())
    return digest.hexdigest() if files else ""


def _file_digest(path: Path) -> str:
    size = path.stat().st_size
    with path.open("rb") as file:
        if size <= _HASHED_WHOLE_BYTES:
            return hashlib.file_digest(file, "sha256").hexdigest()
        digest = hashlib.sha256(str(size).encode())
        digest.update(file.read(_SAMPLE_BYTES))
        file.seek(-_SAMPLE_BYTES, os.SEEK_END)
        digest.update(file.read())
    return digest.hexdigest()


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 of tensors with their names, types and shapes, whatever file they lie in."""
    digest = hashlib.sha256()
    for part in tensor_parts(tensors):
        digest.update(part)
    return digest.hexdigest()


def tensor_parts(tensors: Mapping[str, Tensor]) -> Iterator[bytes | memoryview]:
    """All that tells tensors from others, by their names in order."""
    for name, tensor in sorted(tensors.items()):
        yield f"{name}:{tensor.dtype}:{tuple(tensor.shape)}:".encode()
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        yield data.numpy().data


def weights_digest(folder: Path) -> str:
    """SHA-256 of all that is read of a base model: its config.json and its safetensors files.

    Raises:
        CheckpointRefused: if one of them is missing or damaged.
    """
    digest = hashlib.sha256()
    for path in base_files(folder):
        with _naming(path), path.open("rb") as file:
            content = hashlib.file_digest(file, "sha256").hexdigest()
        digest.update(f"{path.name}:{content}".encode())
    return digest.hexdigest()


def sampled_weights_digest(folder: Path) -> str:
    """SHA-256 of config.json, sizes and headers of files, and 4 KiB from the middle of each weight.

    Tells a model from one that was trained further, without reading 16 GB: a weight that was
    changed in a few numbers alone may go unnoticed.

    Raises:
        CheckpointRefused: if a file is missing, damaged or shorter or longer than its header says.
    """
    digest = hashlib.sha256()
    for path in base_files(folder):
        with _naming(path):
            digest.update(f"{path.name}:{path.stat().st_size}".encode())
            parts = _samples(path) if path.suffix == ".safetensors" else [path.read_bytes()]
            for part in parts:
                digest.update(part)
    return digest.hexdigest()


def base_files(folder: Path) -> list[Path]:
    """config.json, and the files that hold the weights: what a base must have, there or not.

    Raises:
        CheckpointRefused: if an index of several files is damaged.
    """
    index = folder / "model.safetensors.index.json"
    names = {"model.safetensors"}
    if not (folder / "model.safetensors").is_file() and index.is_file():
        with _naming(index):
            names = set(json.loads(index.read_bytes())["weight_map"].values())
    return [folder / "config.json", *(folder / name for name in sorted(names))]


def _samples(path: Path) -> Iterator[bytes]:
    """The header of a safetensors file, and some bytes from the middle of each tensor."""
    with safe_open(path, framework="pt"):  # looks at the header, and whether the file fits it
        pass
    with path.open("rb") as file:
        (size,) = struct.unpack("<Q", file.read(8))
        header = file.read(size)
        yield header
        for name, tensor in sorted(json.loads(header).items()):
            if name == "__metadata__":
                continue
            start, end = tensor["data_offsets"]
            length = min(end - start, _TENSOR_SAMPLE_BYTES)
            file.seek(8 + size + (start + end - length) // 2)
            yield file.read(length)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Errors in reading a file of a base, in a sentence."""
    try:
        yield
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise CheckpointRefused(
            f"base model {path.parent} is incomplete or damaged: {path.name}: {why}: copy or"
            " download this file again"
        ) from error
