"""A stage 1 that another run has trained: what must hold where stage 2 begins with it."""

from collections.abc import Mapping
from pathlib import Path

from recsys.errors import CheckpointRefused
from recsys.scorer.base_model import CARRIED, BaseModel
from recsys.scorer.checkpoint import checkpoint_base
from recsys.scorer.digests import files_digest, weights_digest
from recsys.scorer.trained_on import read_trained_on
from recsys.signatures.files import has_signature


def check_first_stage(
    checkpoint: Path, parts: Mapping[str, str], *, base: BaseModel, files: Path
) -> None:
    """Check that a checkpoint is a stage 1 of the same choices, over the same base.

    Args:
        checkpoint: its folder.
        parts: digest of each part of the choices that this run learns from, by name.
        base: of this run, as its checkpoints name it.
        files: folder where that base lies; all are read where `base` has no digest of them.

    Raises:
        CheckpointRefused: if the checkpoint is damaged, or was made for another base, or does not
            tell for which.
        ValueError: if it learned from other choices, or is no stage 1.
    """
    learned = read_trained_on(checkpoint)
    same = learned is not None and all(
        learned.parts.get(part) == parts[part] for part in ("train", "validation")
    )
    if not same:
        raise ValueError(
            f"{checkpoint} must have learned from the same choices as this run: train stage 1"
            " anew, or name the users it learned from by --only"
        )
    if has_signature(checkpoint):  # it is fitted when stage 2 is done
        raise ValueError(
            f"{checkpoint} must be a stage 1, and is what a run ended with: give the checkpoint"
            " stage1 of that run"
        )
    _check_base(checkpoint, base, files)


def _check_base(checkpoint: Path, base: BaseModel, files: Path) -> None:
    recorded = checkpoint_base(checkpoint)
    needed = recorded.weights_sha256
    if recorded.is_carried:
        needed = weights_digest(checkpoint / CARRIED)
    if needed:
        is_same = needed == (base.weights_sha256 or weights_digest(files))
    elif recorded.digest:  # written before that of weights was
        is_same = recorded.digest == files_digest(files)
    else:
        _check_commit(checkpoint, recorded, base)
        return
    if not is_same:
        where = checkpoint / CARRIED if recorded.is_carried else recorded.source
        raise CheckpointRefused(
            f"{checkpoint} was made for another base than {files}: it needs the weights of {where},"
            f" SHA-256 {(needed or recorded.digest)[:12]}; name them by --base, or train stage 1"
            " anew"
        )


def _check_commit(checkpoint: Path, recorded: BaseModel, base: BaseModel) -> None:
    """Of a base without any digest, a commit of the hub alone tells whether it is the same."""
    commit = recorded.revision
    if commit is not None and (recorded.source, commit) == (base.source, base.revision):
        return
    given = f"give --base {recorded.source} --set base.revision={commit}, or " if commit else ""
    raise CheckpointRefused(
        f"{checkpoint} must tell which base it was made for, and names {recorded.source} without a"
        f" digest of its weights: {given}train stage 1 anew"
    )
