"""The base model that a checkpoint stands on: where it lies, and what it is known by."""

import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from huggingface_hub import constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    HFValidationError,
    IncompleteSnapshotError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from recsys.errors import CheckpointRefused
from recsys.scorer.backbone import Quantization
from recsys.scorer.digests import TOWER, base_files, sampled_weights_digest, weights_digest

CARRIED = "base"
"""The source of a base that lies in the checkpoint's own folder of that name."""

# What is read of a base, of all that its repository may hold.
_PATTERNS = ("*.json", "model*.safetensors", TOWER, "*.model")


@dataclass(frozen=True)
class BaseModel:
    """Which base a checkpoint stands on.

    Attributes:
        source: hub id or absolute folder; "base" is the folder inside the checkpoint.
        revision: commit of a hub id.
        digest: of a folder's files, in checkpoints of before `weights_sha256`; else empty.
        dtype: of weights, or of computation when quantised.
        quantization: "none" or "nf4".
        weights_sha256: of all bytes of weights and configuration; empty where the base was carried
            from the beginning.
        sample_sha256: of a part of them that is quickly read: `sampled_weights_digest`.
    """

    source: str
    revision: str | None = None
    digest: str = ""
    dtype: str = "float32"
    quantization: Quantization = "none"
    weights_sha256: str = ""
    sample_sha256: str = ""

    @property
    def is_carried(self) -> bool:
        """Whether the base lies in the checkpoint."""
        return self.source == CARRIED

    def known_by(self, folder: Path) -> "BaseModel":
        """The same base with the digests of its files.

        Args:
            folder: holds them; all are read, 16 GB in about half a minute.

        Raises:
            CheckpointRefused: if a file is missing or damaged.
        """
        return replace(
            self,
            sample_sha256=sampled_weights_digest(folder),  # first: it refuses what is damaged
            weights_sha256=weights_digest(folder),
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values for scorer.json; a carried base has none of the later keys."""
        later = ("weights_sha256", "sample_sha256")
        return {name: each for name, each in asdict(self).items() if each or name not in later}


@dataclass(frozen=True)
class BaseFiles:
    """Where a base lies.

    Attributes:
        folder: with config and weights.
        revision: commit, where it came from the hub.
    """

    folder: Path
    revision: str | None = None


def find_base(source: str | Path, *, revision: str | None = None) -> BaseFiles:
    """Find a base's files; those of the hub come from its cache, or are downloaded into it.

    Nothing is downloaded with HF_HUB_OFFLINE=1.

    Args:
        source: folder or hub id.
        revision: branch, tag or commit of a hub id; None: the newest, offline the newest cached.

    Raises:
        CheckpointRefused: if there is no such folder, it has no config.json or lacks a file of
            weights, or the hub and its cache do not give it, or in part alone.
    """
    path = Path(source)
    if path.is_dir():
        if not (path / "config.json").is_file():
            raise CheckpointRefused(
                f"base model {source} must be a folder with config.json and weights, and has no"
                " config.json: name the folder where they lie"
            )
        return _whole(source, BaseFiles(path.absolute()))
    if path.is_absolute() or path.exists():
        what = "is a file" if path.exists() else "is not there"
        raise CheckpointRefused(
            f"base model {source} must be a folder, and {what}: name the place where it"
            " lies now (setting base)"
        )
    try:
        folder = snapshot_download(str(source), revision=revision, allow_patterns=list(_PATTERNS))
    except Exception as error:  # the hub's client raises many kinds
        raise CheckpointRefused(
            f"base model {source} must be a folder, or an id that the hub or its cache has: there"
            f" is no such folder, and {_why_not(error)}"
        ) from error
    return _whole(source, BaseFiles(Path(folder), Path(folder).name))


def copy_base(folder: Path, to: Path) -> None:
    """Copy what is read of a base into a checkpoint's folder, which is made."""
    to.mkdir()
    weights = sorted(folder.glob("model*.safetensors*"))
    for path in (folder / "config.json", *weights, *folder.glob(TOWER)):
        shutil.copyfile(path, to / path.name)


def _whole(source: str | Path, files: BaseFiles) -> BaseFiles:
    """Refuse what was copied or downloaded in part, before anything is read of it."""
    lacking = [path.name for path in base_files(files.folder) if not path.is_file()]
    if lacking:
        where = "" if files.revision is None else f" in the hub's cache, {files.folder},"
        raise CheckpointRefused(
            f"base model {source}{where} is incomplete, it lacks {', '.join(lacking)}: copy or"
            " download it again"
        )
    return files


def _why_not(error: Exception) -> str:
    """What became of a question to the hub, in short; its client says it in several sentences."""
    if isinstance(error, HFValidationError):
        return "that is no id of the hub"
    if isinstance(error, GatedRepoError):
        return "the hub gives it only to those who accept its terms: log in to the hub"
    if isinstance(error, RevisionNotFoundError):
        return "the hub has no such revision of it"
    if isinstance(error, RepositoryNotFoundError):
        return "the hub has none of that name, or shows it only to those who are logged in"
    if isinstance(error, IncompleteSnapshotError):
        again = "with HF_HUB_OFFLINE=0" if constants.HF_HUB_OFFLINE else "where the hub answers"
        return f"the hub's cache has a part of it alone: download it again, {again}"
    if constants.HF_HUB_OFFLINE:
        return "the hub could not be asked (HF_HUB_OFFLINE is set)"
    first = (str(error).splitlines() or [type(error).__name__])[0]
    return f"the hub could not be asked ({first.removeprefix('Got: ')})"


def find_recorded(
    recorded: BaseModel,
    checkpoint: Path,
    *,
    elsewhere: str | Path | None = None,
    verifies: bool = False,
) -> Path:
    """The folder of a checkpoint's base, whose weights are those it was trained on.

    Args:
        recorded: what the checkpoint says of its base.
        checkpoint: its folder.
        elsewhere: folder or hub id where the base lies now, unless the checkpoint carries it.
        verifies: compare all bytes of the weights, and not a sample of each.

    Raises:
        CheckpointRefused: as `find_base`, or if these are other weights.
    """
    if recorded.is_carried:
        source: str | Path = checkpoint / CARRIED
        folder = checkpoint / CARRIED
    else:
        source = elsewhere or recorded.source
        revision = recorded.revision if str(source) == recorded.source else None
        folder = find_base(source, revision=revision).folder
    if not recorded.weights_sha256:
        return folder
    is_same = (
        weights_digest(folder) == recorded.weights_sha256
        if verifies
        else sampled_weights_digest(folder) == recorded.sample_sha256
    )
    if not is_same:
        raise CheckpointRefused(
            f"{checkpoint} was made for another base than {source}: it needs the weights of"
            f" {_name(recorded)}, SHA-256 {recorded.weights_sha256[:12]}; name where they lie"
            " (setting base)"
        )
    return folder


def _name(base: BaseModel) -> str:
    return base.source if base.revision is None else f"{base.source} at {base.revision[:12]}"
