"""The bases that cells begin with: each a name, and what makes it."""

import shlex
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import click

from recsys.scorer.digests import files_digest
from storage.files import replace_file
from training.claims.design import CONTRASTED, UNCONTRASTED, Design
from training.fitting.pretraining.pretrain import BASE, captions_state, has_base, is_made_by
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.recipes.overrides import override

PRETRAINING: Mapping[str, tuple[str, ...]] = {
    CONTRASTED: (),
    UNCONTRASTED: ("contrastive_weight=0",),
}
"""What of its recipe each changes. Each is pretrained once, with the same seed."""


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


@dataclass(frozen=True)
class Bases:
    """All bases of a design.

    Attributes:
        folder: of those that are made here.
        design: has what their recipes have in common.
        given: by name, the folder of a `recsys pretrain` elsewhere.
    """

    folder: Path
    design: Design
    given: Mapping[str, Path] = field(default_factory=dict)

    def making(self, name: str, *, folder: Path | None = None) -> str:
        """The command that makes a base.

        Args:
            name: of `PRETRAINING`.
            folder: of all bases, where it is to be shown as another.
        """
        return f"recsys {shlex.join(self._words(name, folder or self.folder))}"

    def find(self, name: str) -> FoundBase | None:
        """The base of a name, if it is there.

        Raises:
            ValueError: if it was made by another recipe, or none is in the folder given.
        """
        place = self._place(name)
        if not has_base(place):
            if name in self.given:
                raise ValueError(
                    f"{place} must be a folder that `recsys pretrain` made, and has no whole"
                    f" {BASE}: give another folder for {name}"
                )
            return None
        if not is_made_by(place, self.recipe(name), skips_captions=bool(self.design.captions_of)):
            raise ValueError(
                f"the base {name} must be made as `{self.making(name)}` does now, or it differs in"
                f" more than one thing from the others, and {place} was made by another recipe or"
                " does not tell by which: give another folder, or remove this one"
            )
        return FoundBase(place / BASE, files_digest(place / BASE))

    def make(self, name: str, *, command: Callable[[list[str]], object]) -> FoundBase:
        """The base of a name, made if it is not there; a run that was stopped goes on.

        Captions are learned once: bases differ in what comes after.

        Args:
            name: of `PRETRAINING`.
            command: runs `recsys` with these words.

        Raises:
            BaseNotMade: if its command fails.
            ValueError: as `find`.
        """
        if found := self.find(name):
            return found
        self._lend_captions(name)
        try:
            command(self._words(name, self.folder))
        except click.ClickException as error:
            raise BaseNotMade(f"{self.making(name)}: {error.format_message()}") from error
        found = self.find(name)
        if found is None:
            raise BaseNotMade(f"{self.making(name)} made no base")
        return found

    def recipe(self, name: str) -> PretrainRecipe:
        """The recipe of a base."""
        return override(PretrainRecipe(), self._changes(name))

    def _changes(self, name: str) -> tuple[str, ...]:
        return (*self.design.pretraining, *PRETRAINING[name])

    def _place(self, name: str) -> Path:
        return self.given.get(name, self.folder / name)

    def _words(self, name: str, folder: Path) -> list[str]:
        start = self.design.captions_of
        beginning = [] if start is None else ["--from", start]
        changes = [word for change in self._changes(name) for word in ("--set", change)]
        return ["pretrain", str(folder / name), *beginning, *changes, "--threads", "1"]

    def _lend_captions(self, name: str) -> None:
        """Put the state of captions learned for another base where this one looks for it."""
        state = captions_state(self.recipe(name))
        mine = self.folder / name / state
        for other in PRETRAINING:
            theirs = self._place(other) / state
            if not mine.exists() and theirs.is_file() and self.find(other):
                mine.parent.mkdir(parents=True, exist_ok=True)
                with replace_file(mine) as temporary:
                    shutil.copy(theirs, temporary)
