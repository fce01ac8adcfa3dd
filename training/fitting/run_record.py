"""The record of a run: run.json, and the identity that its states are bound to."""

import contextlib
import hashlib
import json
import platform
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from recsys.scorer.base_model import BaseModel
from recsys.scorer.digests import files_digest
from storage.files import replace_file
from training.data.splits import Split
from training.fitting.recipes.recipe import Recipe
from training.fitting.run_state import recipe_digest

PACKAGES = ("torch", "transformers", "peft", "bitsandbytes", "accelerate", "numpy", "recsys")


def run_identity(
    recipe: Recipe,
    base: str | Path,
    parts: Split,
    *,
    stage1: Path | None = None,
    revision: str | None = None,
) -> str:
    """SHA-256 of all that decides a run: recipe, base, choices, and what stage 2 begins with.

    Args:
        recipe: of the run.
        base: folder or hub id of the base model; a folder's files are read.
        parts: what is learned from, and what is kept for validation.
        stage1: a checkpoint that stage 2 begins with, in place of a stage 1 of this run.
        revision: commit of a hub id.
    """
    named = str(base) if revision is None else f"{base}@{revision}"
    model = files_digest(Path(base)) if Path(base).is_dir() else named
    digests = [recipe_digest(recipe.to_json()), model, *parts.digests.values()]
    if stage1 is not None:
        digests.append(files_digest(stage1))
    return hashlib.sha256(" ".join(digests).encode()).hexdigest()


def write_run(
    recipe: Recipe,
    parts: Split,
    folder: Path,
    identity: str,
    *,
    base: BaseModel,
    num_processes: int,
    pretraining: Mapping[str, Any] | None = None,
) -> None:
    """Write run.json; a resumed run keeps what was written when it began.

    Args:
        recipe: of the run.
        parts: what is learned from.
        folder: of the run.
        identity: as `run_identity`.
        base: as its checkpoints name it.
        num_processes: that share the work.
        pretraining: how the base was made, as `read_pretraining` has it; None: not known.
    """
    path = folder / "run.json"
    if path.exists() and json.loads(path.read_text()).get("identity") == identity:
        return
    run: dict[str, Any] = {
        "identity": identity,
        "recipe": recipe.to_json(),
        "base": base.to_json(),
        "pretraining": pretraining,
        "seeds": [recipe.first.plan.seed, recipe.second.plan.seed],
        "data": parts.digests,
        "num_users": len(parts.train.pairs),
        "num_pairs": sum(map(len, parts.train.pairs.values())),
        "num_processes": num_processes,
        "commit": _commit(),
        "python": platform.python_version(),
        "packages": dict(_versions()),
    }
    with replace_file(path) as temporary:
        temporary.write_text(json.dumps(run, indent=2) + "\n")


def _versions() -> list[tuple[str, str]]:
    versions = []
    for name in PACKAGES:
        with contextlib.suppress(PackageNotFoundError):
            versions.append((name, version(name)))
    return versions


def _commit() -> str | None:
    command = ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()
