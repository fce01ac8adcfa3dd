"""A checkpoint in one folder: with its base, and with what that takes from elsewhere."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

from recsys.errors import CheckpointRefused
from recsys.scorer.base_model import CARRIED, BaseModel, copy_base, find_recorded
from recsys.scorer.checkpoint import check_signed, find_checkpoint, read_config
from recsys.scorer.registry import family_of
from storage.files import replace_folder


def export_checkpoint(checkpoint: str | Path, out: Path, *, base: str | Path | None = None) -> str:
    """Write a checkpoint that needs nothing but its own folder; it scores and signs the same.

    Args:
        checkpoint: a folder, or the name of a shipped one.
        out: not there yet, or empty; takes as much as the base, 16 GB for Idefics2-8B.
        base: folder or hub id where its base lies now; None: where the checkpoint says.

    Returns:
        The model version, which is the checkpoint's own.

    Raises:
        NotFound, CheckpointRefused: as `recsys.scorer.checkpoint.load_scorer`, all bytes of a base
            that lies elsewhere compared; or if the checkpoint does not tell its base's digest.
        PreconditionFailed: if what the base needs is not installed.
        ValueError: if there is something in `out`, or it lies in the checkpoint.
    """
    folder = find_checkpoint(checkpoint)
    _check_place(out, folder)
    config = read_config(folder)
    check_signed(folder, config)
    recorded = BaseModel(**config["base"])
    if not recorded.is_carried and not recorded.weights_sha256:
        raise CheckpointRefused(
            f"{folder} must tell the digest of its base to be exported, and is of before"
            " checkpoints did: load it where its base lies, or train it again"
        )
    files = find_recorded(recorded, folder, elsewhere=base, verifies=True)
    with replace_folder(out) as work:
        shutil.copytree(folder, work, dirs_exist_ok=True, ignore=shutil.ignore_patterns(CARRIED))
        copy_base(files, work / CARRIED)
        family_of(work / CARRIED).complete(work / CARRIED)
        carried = replace(recorded, source=CARRIED, revision=None)
        text = json.dumps({**config, "base": carried.to_json()}, indent=2)
        (work / "scorer.json").write_text(text + "\n")
        check_signed(work, read_config(work))
    return str(config["model_version"])


def _check_place(out: Path, checkpoint: Path) -> None:
    is_taken = out.exists() and (not out.is_dir() or any(out.iterdir()))
    if is_taken or checkpoint.resolve() in out.resolve().parents:
        raise ValueError(
            f"the folder to export to must be a new one or empty, and outside {checkpoint}, got"
            f" {out}: name another one"
        )
