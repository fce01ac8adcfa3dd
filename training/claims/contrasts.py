"""What each claim compares, and the differences that the answers give."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from training.claims.answers import CellAnswers
from training.claims.design import PEOPLE, Design
from training.claims.estimates import Estimate, crossed, nested
from training.claims.people import learners_of

Told = Mapping[tuple[str, int], CellAnswers]
"""Answers of complete runs by cell and seed."""


@dataclass(frozen=True)
class Contrast:
    """One way to train less another.

    Attributes:
        name: in words.
        first, second: cells.
    """

    name: str
    first: str
    second: str


@dataclass(frozen=True)
class Claim:
    """What the paper says of one thing, and what is compared for it.

    Attributes:
        title: what it is about.
        said: by the paper.
        contrasts: the first of each pair is what it says to be better.
        by_references: compare behind fewer references, too.
    """

    title: str
    said: str
    contrasts: tuple[Contrast, ...]
    by_references: bool = False


def _at(name: str, number: int) -> str:
    """The cell of so many learners."""
    return f"{name}-{number}" if number in PEOPLE else name


_PEOPLE = (*PEOPLE, 1000)

CLAIMS = (
    Claim(
        "The contrastive loss",
        "L+ and L- beside L_base bring 0.9 points (Tab. 5).",
        (
            Contrast("in the stages, on a base that had it", "centre", "stages-uncontrasted"),
            Contrast("in the stages, on a base without", "base-uncontrasted", "all-uncontrasted"),
            Contrast("in pretraining, stages with it", "centre", "base-uncontrasted"),
            Contrast("in pretraining and stages", "centre", "all-uncontrasted"),
        ),
    ),
    Claim(
        "Preference tokens",
        "P_v bring 0.3 points (Tab. 5), and hold when there are fewer references (Fig. 6).",
        (
            *(
                Contrast(f"beside LoRA, {n:,} learners", _at("centre", n), _at("lora", n))
                for n in _PEOPLE
            ),
            *(
                Contrast(f"in place of LoRA, {n:,} learners", _at("pv", n), _at("lora", n))
                for n in _PEOPLE
            ),
            *(
                Contrast(f"alone, less the base as it is, {n:,} learners", _at("pv", n), "frozen")
                for n in _PEOPLE
            ),
        ),
        by_references=True,
    ),
    Claim(
        "The number of tokens",
        "Ten are best: 61.41 % with 5, 61.68 with 10, 61.19 with 20 (Tab. 6).",
        (
            Contrast("10 less 5", "centre", "tokens-5"),
            Contrast("10 less 20", "centre", "tokens-20"),
            Contrast("10 less none", "centre", "lora"),
        ),
    ),
)

GAP_CELLS = tuple(_at(name, n) for name in ("centre", "lora", "pv") for n in _PEOPLE)
"""Cells whose seen people are compared with unseen ones."""

GAP_CONTRASTS = tuple(
    Contrast(f"gap with P_v less gap without, {n:,} learners", _at("centre", n), _at("lora", n))
    for n in _PEOPLE
)


@dataclass(frozen=True, eq=False)
class Answered:
    """Complete runs, and the differences between them.

    Attributes:
        design: of the runs.
        told: their answers.
    """

    design: Design
    told: Told

    def seeds(self, *cells: str) -> list[int]:
        """Seeds that all of some cells were run with."""
        return [s for s in self.design.seeds if all((cell, s) in self.told for cell in cells)]

    def on_trained(self, first: str, second: str | None, count: int) -> Estimate | None:
        """Top-1 of a cell, or less that of another, on unseen people of the learners' communities.

        Args:
            first, second: cells; None: the first by itself.
            count: of references.

        Returns:
            None where one of them has not been run.
        """
        name = self.design.trained.name
        return self._crossed(first, second, lambda cell, s: self._rights(cell, s, name, count))

    def on_new(self, first: str, second: str | None, count: int) -> Estimate | None:
        """The same on other communities; what is drawn there are populations, not people."""

        def means(cell: str, seed: int) -> Float[np.ndarray, " P"]:
            names = [world.name for world in self.design.new]
            return np.array([self._rights(cell, seed, name, count).mean() for name in names])

        return self._crossed(first, second, means)

    def gap(self, first: str, second: str | None = None) -> Estimate | None:
        """Top-1 of people learned from less that of the same people by runs that never saw them.

        Each seed has learners of its own, so a person is seen by one run and unseen by the others:
        the same pairs behind the same references. What a run is better at on everybody is taken
        off before.

        Args:
            first, second: cells; the first by itself, or its gap less that of the second.

        Returns:
            None where fewer than two seeds of each have been run.
        """
        cells = [first] if second is None else [first, second]
        seeds = self.seeds(*cells)
        if len(seeds) < 2:
            return None
        gaps = [self._gaps(cell, seeds) for cell in cells]
        if second is None:
            return nested(gaps[0])
        return nested([a - b for a, b in zip(*gaps, strict=True)])

    def _gaps(self, cell: str, seeds: Sequence[int]) -> list[Float[np.ndarray, " _"]]:
        """For each seed, of each of its learners, how much better the own run does."""
        name, most = self.design.learners.name, self.design.reference_counts[-1]
        number = min(self.design.cell(cell).num_people, self.design.num_known)
        answers = {s: self.told[cell, s].groups[name].by_references[str(most)] for s in seeds}
        whose = {
            s: [u for u in learners_of(self.design, s)[:number] if u in answers[s]] for s in seeds
        }
        everybody = [user for own in whose.values() for user in own]
        general = {s: np.mean([answers[s][user] for user in everybody]) for s in seeds}

        def above(run: int, seed: int) -> Float[np.ndarray, " _"]:
            own = np.array([answers[run][user] for user in whose[seed]])
            return np.asarray(own - general[run])

        return [
            above(seed, seed) - np.mean([above(s, seed) for s in seeds if s != seed], axis=0)
            for seed in seeds
        ]

    def _rights(self, cell: str, seed: int, group: str, count: int) -> Float[np.ndarray, " U"]:
        own = self.told[cell, seed].groups[group].by_references[str(count)]
        return np.array([own[user] for user in sorted(own)])

    def _crossed(
        self,
        first: str,
        second: str | None,
        rights: Callable[[str, int], Float[np.ndarray, " U"]],
    ) -> Estimate | None:
        seeds = self.seeds(*[cell for cell in (first, second) if cell is not None])
        if not seeds:
            return None
        rows = [rights(first, s) - (0 if second is None else rights(second, s)) for s in seeds]
        return crossed(np.stack(rows))
