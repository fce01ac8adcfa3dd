"""The bases that cells begin with: each a name, and what makes it."""

import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from recsys.errors import CheckpointRefused
from recsys.scorer.base_model import CARRIED
from recsys.scorer.checkpoint import find_checkpoint
from recsys.scorer.digests import files_digest
from training.claims.design import SHIPPED, UNCONTRASTED

PRETRAINING: Mapping[str, tuple[str, ...]] = {
    UNCONTRASTED: ("--set", "contrastive_weight=0"),
}
"""What `recsys pretrain` is told beside a folder; resumable, hours."""

_TOKENIZER = "tokenizer"


@dataclass(frozen=True)
class FoundBase:
    """A base that is there.

    Attributes:
        folder: of model and tokenizer.
        digest: SHA-256 of its files.
    """

    folder: Path
    digest: str


class BaseNotMade(ValueError):
    """A base could not be made: the message has the command and why it ended."""


def making(name: str, folder: Path, checkpoint: str) -> str:
    """Say how a base is made: a command, or whose it is."""
    if name == SHIPPED:
        return f"the base of the checkpoint {checkpoint}"
    return f"recsys {shlex.join(_words(name, folder))}"


def find_named_base(name: str, folder: Path, checkpoint: str) -> FoundBase | None:
    """The base of a name, if it is there.

    Args:
        name: `SHIPPED`, or of `PRETRAINING`.
        folder: of all bases.
        checkpoint: that carries the shipped one: a folder, or the name of a shipped checkpoint.

    Raises:
        CheckpointRefused, NotFound: if there is no such checkpoint, or it carries no base.
    """
    if name == SHIPPED:
        return _copied(find_checkpoint(checkpoint), folder)
    made = folder / name / "base"
    if not (made / "config.json").is_file():
        return None
    return FoundBase(made, files_digest(made))


def make_named_base(
    name: str, folder: Path, checkpoint: str, *, command: Callable[[list[str]], object]
) -> FoundBase:
    """The base of a name, made if it is not there; a run that was stopped goes on.

    Args:
        name, folder, checkpoint: as of `find_named_base`.
        command: runs `recsys` with these words.

    Raises:
        BaseNotMade: if its command fails.
        CheckpointRefused, NotFound: as `find_named_base`.
    """
    if found := find_named_base(name, folder, checkpoint):
        return found
    try:
        command(_words(name, folder))
    except click.ClickException as error:
        why = error.format_message()
        raise BaseNotMade(f"{making(name, folder, checkpoint)}: {why}") from error
    found = find_named_base(name, folder, checkpoint)
    if found is None:
        raise BaseNotMade(f"{making(name, folder, checkpoint)} made no base")
    return found


def _words(name: str, folder: Path) -> list[str]:
    return ["pretrain", str(folder / name), *PRETRAINING[name], "--threads", "1"]


def _copied(checkpoint: Path, folder: Path) -> FoundBase:
    """Model and tokenizer of a checkpoint in one folder, as recipes name a base."""
    carried = checkpoint / CARRIED
    if not (carried / "config.json").is_file():
        raise CheckpointRefused(
            f"{checkpoint} must carry its base in {CARRIED}/: give another checkpoint"
        )
    copy = folder / f"{SHIPPED}-{files_digest(carried)[:12]}"
    if not copy.is_dir():
        half = copy.with_suffix(".part")
        shutil.rmtree(half, ignore_errors=True)
        for part in (carried, checkpoint / _TOKENIZER):
            shutil.copytree(part, half, dirs_exist_ok=True)
        half.rename(copy)
    return FoundBase(copy, files_digest(copy))
