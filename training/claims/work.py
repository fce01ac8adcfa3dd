"""All runs of a design: what is done already stays, what was stopped goes on."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from rich.console import Console

from recsys.runtime import Runtime
from recsys.scorer.checkpoint import load_scorer
from training.claims.answers import CellAnswers, answers_path, read_answers, write_answers
from training.claims.bases import BaseNotMade, Bases, FoundBase
from training.claims.design import Design, TrainedCell
from training.claims.people import (
    AskedGroup,
    asked_groups,
    create_people,
    learners_of,
    worlds,
)
from training.claims.runs import ask_cell, of_people, train_cell
from training.data.features import OpenTokens, shared
from training.fitting.sole_run import sole_run
from training.world.gallery import WorldProgress


@dataclass(frozen=True)
class Piece:
    """A cell with a seed, and how far it is.

    Attributes:
        cell, seed: which.
        answers: so far, of this very design and base; None: none.
        missing: names of the groups that are still to be asked.
    """

    cell: TrainedCell
    seed: int
    answers: CellAnswers | None
    missing: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Work:
    """All runs of a design.

    Attributes:
        design: what is compared.
        runtime: of a database of its own.
        folder: receives people, bases, runs and answers.
        console: where progress is shown.
        command: runs `recsys` with some words, to make a base.
        given: bases that were made elsewhere: by name, the folder of a `recsys pretrain`.
        changes: of all recipes, as `recsys train --set` takes them.
    """

    design: Design
    runtime: Runtime
    folder: Path
    console: Console
    command: Callable[[list[str]], object]
    given: Mapping[str, Path] = field(default_factory=dict)
    changes: tuple[str, ...] = ()

    @property
    def bases(self) -> Bases:
        """The bases, made here or given."""
        return Bases(self.folder / "bases", self.design, self.given)

    @property
    def answers(self) -> Path:
        """Where the files of answers are; those of another machine may be copied there."""
        return self.folder / "answers"

    def pieces(self, names: Sequence[str] = ()) -> list[Piece]:
        """All cells, or those named, one seed of all before the next.

        Raises:
            ValueError: if a name is no cell's, or a file of answers is damaged; as `Bases.find`.
        """
        cells = [self.design.cell(name) for name in names] or self.design.cells
        found = {name: self.bases.find(name) for name in dict.fromkeys(cell.base for cell in cells)}
        return [
            self._piece(cell, seed, found[cell.base])
            for seed in self.design.seeds
            for cell in cells
            if seed in self.design.seeds_of(cell)
        ]

    def run(self, names: Sequence[str] = (), *, progress: WorldProgress) -> list[str]:
        """Do what is missing; several processes may share the work.

        Args:
            names: of cells; all by default.
            progress: of the people's creation.

        Returns:
            Which cells were left out and why, a sentence each.

        Raises:
            ValueError: as `pieces`, or if another process is creating the people.
            CheckpointRefused, LossNotFinite, RunNotSaved, TooManyBadImages, ValueError: as
                `train_cell`.
        """
        left: dict[str, None] = {}
        waiting = [piece for piece in self.pieces(names) if piece.missing]
        if waiting:
            self._create_people(progress)
        for piece in waiting:
            if why := self._do(piece):
                left[f"{piece.cell.name} is left out: {why}"] = None
        return list(left)

    def _create_people(self, progress: WorldProgress) -> None:
        place = self.folder / "world"
        with sole_run(place):
            for world in worlds(self.design):
                create_people(world, self.runtime.store, place, progress=progress)

    def _piece(self, cell: TrainedCell, seed: int, base: FoundBase | None) -> Piece:
        answers = read_answers(answers_path(self.answers, cell.name, seed))
        if answers is not None:
            is_own = answers.identity == self.design.identity(cell, seed, self.changes)
            if not is_own or (base is not None and answers.base != base.digest):
                answers = None
        done = () if answers is None else answers.groups
        missing = (name for name in self.design.groups_of(cell) if name not in done)
        return Piece(cell, seed, answers, tuple(missing))

    def _do(self, piece: Piece) -> str | None:
        """Train and ask what is missing; why not, where it cannot be."""
        try:
            base = self.bases.make(piece.cell.base, command=self.command)
        except BaseNotMade as error:
            return str(error)
        identity = self.design.identity(piece.cell, piece.seed, self.changes)
        place = self.folder / "cells" / f"{piece.cell.name}.{piece.seed}"
        with ExitStack() as held:
            try:
                held.enter_context(sole_run(place))
            except ValueError:
                return f"another process is at seed {piece.seed}"
            # Who had it before may have done all of it since.
            now = self._piece(piece.cell, piece.seed, base)
            self._train_and_ask(now, base, place / f"{identity[:8]}-{base.digest[:8]}")
        return None

    def _train_and_ask(self, piece: Piece, base: FoundBase, folder: Path) -> None:
        if not piece.missing:
            return
        self.console.print(f"{piece.cell.name}, seed {piece.seed}")
        answers, final = piece.answers, folder / "final"
        store, limits = self.runtime.store, self.runtime.image_limits
        if answers is None or not final.is_dir():
            trained = train_cell(
                self.design,
                piece.cell,
                piece.seed,
                base=base,
                store=store,
                folder=folder,
                console=self.console,
                limits=limits,
                image_tokens=self._image_tokens,
                changes=self.changes,
            )
            answers = answers or trained
            write_answers(answers, self.answers)
        scorer = load_scorer(final)
        for name in piece.missing:
            group, counts = self._questions(name, piece.cell)
            answers = ask_cell(
                answers,
                scorer,
                group,
                counts=counts,
                store=store,
                limits=limits,
                image_tokens=self._image_tokens,
            )
            write_answers(answers, self.answers)
            self.console.print(f"{piece.cell.name}, seed {piece.seed}: {name} is asked")

    def _questions(self, name: str, cell: TrainedCell) -> tuple[AskedGroup, Sequence[int]]:
        """What a cell is asked: learners behind all references alone, as far as they learned."""
        group, counts = self._groups[name], self.design.reference_counts
        if name != self.design.learners.name:
            return group, counts
        number = min(cell.num_people, self.design.num_known)
        users = {u for seed in self.design.seeds for u in learners_of(self.design, seed)[:number]}
        return of_people(group, users), counts[-1:]

    @cached_property
    def _groups(self) -> Mapping[str, AskedGroup]:
        return {group.name: group for group in asked_groups(self.design, self.runtime.store)}

    @cached_property
    def _image_tokens(self) -> OpenTokens:
        return shared(self.runtime.image_tokens_of)
