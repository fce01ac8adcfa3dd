"""The main part of an index on disk, so that a restart need not rebuild it.

folder/CURRENT-<version>              name of the snapshot to load, replaced atomically
folder/<version>-<sequence>-<random>/ never changed once it has this name
    meta.json                         what it is, and the SHA-256 of each file
    ids.npy ends.npy sequences.npy vectors.npy
    index.faiss                       if there is an index

A snapshot is written under a temporary name, flushed to the disk, renamed, and then pointed at; so
the pointer always names a complete one, even if a writer is killed. One process writes at a time.
SQL is authoritative: a reader asks it for all later changes. A snapshot has the mark of the
erasures before it (`storage.tombstones`): once there is another mark it may hold an erased user,
and it is removed.
"""

import hashlib
import json
import re
import secrets
import shutil
import time
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from recsys.errors import RecsysError
from recsys.similarity._exact import Vectors
from recsys.similarity.kinds import Graph, InvertedFile, VectorIndex, on_gpu
from recsys.similarity.rows import MainPart, Rows, UserIds
from storage.files import flush, lock_folder, replace_file
from storage.tombstones import ErasureMark

FORMAT = 3
MAX_AGE_S = 24 * 3600.0
_INDEX = "index.faiss"
_META = "meta.json"
_UNFINISHED = ".new-"
_SNAPSHOT = re.compile(r"(?P<unfinished>\.new-)?(?P<version>[0-9A-Za-z]+)-\d+-[0-9a-f]+")
_NAME_CHARACTERS = 16  # of the digest; meta.json has all


class SnapshotRefused(RecsysError):
    """A snapshot that is damaged, or of another model version or format; the message says which."""


def save_snapshot(main: MainPart, model_version: str, folder: Path) -> Path:
    """Write a snapshot, point at it, and remove earlier ones and old ones of other versions.

    Of several writers the last one wins, even if it knows less: readers catch up from SQL.

    Args:
        main: with at least one user.
        model_version: of its vectors.
        folder: created if missing.

    Returns:
        The folder of the snapshot.

    Raises:
        OSError: if it cannot be written; the previous one stays.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with lock_folder(folder):
        prefix = f"{_short(model_version)}-{main.sequence}-"
        written = folder / f"{_UNFINISHED}{prefix}{secrets.token_hex(4)}"
        try:
            written.mkdir()
            _write(main, model_version, written)
            final = folder / written.name.removeprefix(_UNFINISHED)
            written.rename(final)
        except BaseException:
            shutil.rmtree(written, ignore_errors=True)
            raise
        flush(folder)
        _point_at(final, model_version)
        _sweep(model_version, folder, keep=final.name)
    return final


def remove_snapshot(model_version: str, folder: Path) -> None:
    """Remove a model version's snapshots; processes that have one loaded keep it.

    Raises:
        OSError: if one cannot be removed.
    """
    if folder.is_dir():
        with lock_folder(folder):
            _remove(folder, _short(model_version))


def remove_snapshots(folder: Path) -> None:
    """Remove the snapshots of all model versions, and what killed writers left; as above."""
    if folder.is_dir():
        with lock_folder(folder):
            _remove(folder, None)


def load_snapshot(model_version: str, folder: Path) -> MainPart | None:
    """Load the current snapshot, memory-mapped.

    Returns:
        None if there is no snapshot of this model version.

    Raises:
        SnapshotRefused: if it is damaged, or of another model version or format.
    """
    path = _pointed_at(model_version, folder)
    while path is not None:
        try:
            return _read(path, model_version)
        except (OSError, RuntimeError, ValueError, KeyError, TypeError) as error:
            # Another process may have replaced it while it was being read.
            before, path = path, _pointed_at(model_version, folder)
            if path == before:
                raise SnapshotRefused(f"{path} must be complete and readable: {error}") from error
    return None


def _write(main: MainPart, model_version: str, folder: Path) -> None:
    rows = main.rows
    arrays: dict[str, npt.NDArray[Any]] = {
        "ids": rows.user_ids.text,
        "ends": rows.user_ids.ends,
        "sequences": rows.sequences,
        "vectors": rows.vectors,
    }
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", array, allow_pickle=False)
    index = main.vector_index
    settings = {} if index is None else _write_index(index, folder / _INDEX)
    meta = {
        "format": FORMAT,
        "model_version": model_version,
        "sequence": main.sequence,
        "read_at": main.read_at,
        "erasures": _mark_to_json(main.mark),
        "num_users": len(rows),
        "dimension": rows.vectors.shape[1],
        "kind": None if index is None else index.kind,
        "settings": settings,
        "sha256": {path.name: _digest(path) for path in sorted(folder.iterdir())},
    }
    (folder / _META).write_text(json.dumps(meta, indent=2) + "\n")
    for path in [*folder.iterdir(), folder]:
        flush(path)


def _read(path: Path, model_version: str) -> MainPart:
    meta = json.loads((path / _META).read_text())
    if meta["format"] != FORMAT:
        raise ValueError(f"format must be {FORMAT}, got {meta['format']!r}")
    if meta["model_version"] != model_version:
        raise ValueError(f"model version must be {model_version}, got {meta['model_version']}")
    for name, expected in meta["sha256"].items():
        if _digest(path / name) != expected:
            raise ValueError(f"{name} is damaged")
    ids, ends, sequences, vectors = (
        np.asarray(np.load(path / f"{name}.npy", mmap_mode="r", allow_pickle=False))
        for name in ("ids", "ends", "sequences", "vectors")
    )
    rows = Rows(UserIds(ids, ends), sequences, vectors)
    if {len(rows), len(sequences), len(vectors)} != {meta["num_users"]}:
        raise ValueError(f"num_users must be {meta['num_users']}, got {len(rows)}")
    index = None
    if meta["kind"] is not None:
        index = _read_index(meta["kind"], path / _INDEX, meta["settings"], vectors)
    mark = _mark_of(meta["erasures"])
    return MainPart(rows, int(meta["sequence"]), index, float(meta["read_at"]), mark)


def _mark_to_json(mark: ErasureMark) -> dict[str, Any]:
    newest_at = None if mark.newest_at is None else mark.newest_at.isoformat()
    return {"num_tombstones": mark.num_tombstones, "newest_at": newest_at}


def _mark_of(values: dict[str, Any]) -> ErasureMark:
    newest_at = values["newest_at"]
    is_none = newest_at is None
    return ErasureMark(
        int(values["num_tombstones"]), None if is_none else datetime.fromisoformat(newest_at)
    )


def _write_index(index: VectorIndex, path: Path) -> dict[str, int | float]:
    """Write an index to a file, if it is costly to build.

    Returns:
        The settings that `_read_index` needs beside it.
    """
    if not isinstance(index, InvertedFile | Graph):
        return {}
    import faiss

    faiss.write_index(index.index, str(path))
    return index.settings


def _read_index(kind: str, path: Path, settings: dict[str, Any], vectors: Vectors) -> VectorIndex:
    """Read what `_write_index` wrote, memory-mapped where FAISS can.

    Raises:
        ValueError: if the file is of other vectors, or of a kind that is not supported here.
        RuntimeError: if FAISS cannot read the file.
    """
    import faiss

    if kind == "gpu" and faiss.get_num_gpus() > 0:
        return on_gpu(vectors)
    kinds: dict[str, type[InvertedFile | Graph]] = {
        InvertedFile.kind: InvertedFile,
        Graph.kind: Graph,
    }
    if kind not in kinds:
        raise ValueError(f"kind must be one of {', '.join(kinds)} on this machine, got {kind!r}")
    index = faiss.read_index(str(path), faiss.IO_FLAG_MMAP_IFC)
    if index.ntotal != len(vectors) or index.d != vectors.shape[1]:
        raise ValueError(f"an index must hold {len(vectors)} vectors, got {index.ntotal}")
    return kinds[kind](index, **settings)


def _pointed_at(model_version: str, folder: Path) -> Path | None:
    pointer = _pointer(model_version, folder)
    try:
        name = pointer.read_text().strip()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, ValueError) as error:
        raise SnapshotRefused(f"{pointer} must be readable: {error}") from error
    if name != Path(name).name:
        raise SnapshotRefused(f"{pointer} must hold one name, got {name!r}")
    return folder / name


def _point_at(path: Path, model_version: str) -> None:
    pointer = _pointer(model_version, path.parent)
    with replace_file(pointer, is_only_writer=True) as temporary:
        temporary.write_text(path.name + "\n")


def _pointer(model_version: str, folder: Path) -> Path:
    return folder / f"CURRENT-{_short(model_version)}"


def _short(model_version: str) -> str:
    """A safe file name: model versions are digests, but no other text may leave the folder."""
    plain = model_version[:_NAME_CHARACTERS]
    if plain.isascii() and plain.isalnum():
        return plain
    return hashlib.sha256(model_version.encode()).hexdigest()[:_NAME_CHARACTERS]


def _remove(folder: Path, version: str | None) -> None:
    """Remove snapshots of a version or of all, and unfinished ones; the lock is held."""
    for path, name in _snapshots(folder):
        if name["unfinished"] or version in (None, name["version"]):
            shutil.rmtree(path)
    _remove_pointers(folder)


def _snapshots(folder: Path) -> list[tuple[Path, re.Match[str]]]:
    """Folders of snapshots, and their names taken apart; other folders are somebody else's."""
    named = [(path, _SNAPSHOT.fullmatch(path.name)) for path in folder.iterdir() if path.is_dir()]
    return [(path, name) for path, name in named if name is not None]


def _sweep(model_version: str, folder: Path, *, keep: str) -> None:
    """Remove this version's other snapshots and what killed writers left; the lock is held.

    Snapshots of other versions are removed when nobody has renewed them for long.
    """
    own = _short(model_version)
    for path, name in _snapshots(folder):
        if path.name == keep:
            continue
        is_old = time.time() - path.stat().st_mtime > MAX_AGE_S
        if is_old or name["unfinished"] or name["version"] == own:
            shutil.rmtree(path, ignore_errors=True)
    _remove_pointers(folder)


def _remove_pointers(folder: Path) -> None:
    """Remove those that point to nothing."""
    for pointer in folder.glob("CURRENT-*"):
        if not (folder / pointer.read_text(errors="replace").strip()).is_dir():
            pointer.unlink()


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
