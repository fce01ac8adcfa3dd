"""What a run of a cell answered, person by person, in a JSON file that travels between machines."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from storage.files import replace_file


@dataclass(frozen=True)
class GroupAnswers:
    """Of one group of people.

    Attributes:
        digest: of what they were asked.
        num_pairs: asked of all of them.
        by_references: by number of references, as text, and by person: share of pairs ranked
            rightly, in [0, 1].
    """

    digest: str
    num_pairs: int
    by_references: Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class CellAnswers:
    """Of one run: a cell with a seed.

    Attributes:
        identity: SHA-256 of all that decides it, beside the base.
        cell: its name.
        seed: of its draws.
        base: SHA-256 of the base's files.
        model_version: of the checkpoint.
        token_shift: root mean square by which a coordinate of P_v moved in training; None: no P_v.
        fit_s: processor seconds of the training, of its last part where it was stopped.
        judge_s: processor seconds of the judgement.
        groups: by name of the group.
    """

    identity: str
    cell: str
    seed: int
    base: str
    model_version: str
    token_shift: float | None
    fit_s: float
    judge_s: float = 0.0
    groups: Mapping[str, GroupAnswers] = field(default_factory=dict)

    def with_group(self, name: str, answers: GroupAnswers, *, seconds: float) -> "CellAnswers":
        """The same with one more group, which took so many seconds to judge."""
        return replace(self, groups={**self.groups, name: answers}, judge_s=self.judge_s + seconds)


def answers_path(folder: Path, cell: str, seed: int) -> Path:
    """The file of a cell and seed."""
    return folder / f"{cell}.{seed}.json"


def write_answers(answers: CellAnswers, folder: Path) -> None:
    """Replace the file of a run."""
    folder.mkdir(parents=True, exist_ok=True)
    with replace_file(answers_path(folder, answers.cell, answers.seed)) as temporary:
        temporary.write_text(json.dumps(asdict(answers)) + "\n")


def read_answers(path: Path) -> CellAnswers | None:
    """The answers of a run; None: there is no such file.

    Raises:
        ValueError: if the file is not of answers.
    """
    if not path.exists():
        return None
    try:
        values = json.loads(path.read_text())
        groups = {name: GroupAnswers(**each) for name, each in values.pop("groups").items()}
        return CellAnswers(**values, groups=groups)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"{path} must hold answers of a cell: remove it, and run again") from error
