"""What a checkpoint is known by: digests of its files, and the model version over all of them."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

_HASHED_WHOLE_BYTES = 1 << 26
_SAMPLE_BYTES = 1 << 20
_DIGESTED = (".json", ".safetensors", ".model", ".image")


def model_version(folder: Path, config: dict[str, Any]) -> str:
    """SHA-256 of all that decides a score or a signature: config, P_v, adapter, and so on.

    A base named by hub id counts by id and revision; one in a folder by its files.
    """
    digest = hashlib.sha256()
    signed = {key: value for key, value in config.items() if key != "model_version"}
    digest.update(json.dumps(signed, sort_keys=True).encode())
    for part in ("preference_tokens.safetensors", "adapter", "tokenizer", "base"):
        digest.update(f"{part}:{files_digest(folder / part)}".encode())
    if (folder / "signature").is_dir():
        digest.update(f"signature:{files_digest(folder / 'signature')}".encode())
    return digest.hexdigest()


def files_digest(path: Path) -> str:
    """Digest of a file or of all weights and JSON in a folder; empty when there is nothing.

    A file past 64 MiB counts by size, head and tail: hashing 16 GB at each start would take a
    minute.
    """
    if path.is_file():
        return _file_digest(path)
    digest = hashlib.sha256()
    files = sorted(p for p in path.rglob("*") if p.suffix in _DIGESTED)
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
