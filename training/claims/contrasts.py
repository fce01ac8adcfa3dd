"""What each claim compares, and the differences that the answers give."""

from collections.abc import Mapping, Sequence
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


_FEW_AND_MANY = (40, 1000)
"""Numbers of learners with which P_v, LoRA and both are trained."""

CLAIMS = (
    Claim(
        "The contrastive loss",
        "L+ and L- beside L_base bring 0.9 points (Tab. 5).",
        (
            Contrast("in the stages, on a base without", "base-uncontrasted", "all-uncontrasted"),
            Contrast("in pretraining, stages with it", "centre", "base-uncontrasted"),
        ),
    ),
    Claim(
        "Preference tokens",
        "P_v bring 0.3 points (Tab. 5), and hold when there are fewer references (Fig. 6).",
        (
            *(
                Contrast(f"beside LoRA, {n:,} learners", _at("centre", n), _at("lora", n))
                for n in _FEW_AND_MANY
            ),
            *(
                Contrast(f"in place of LoRA, {n:,} learners", _at("pv", n), _at("lora", n))
                for n in _FEW_AND_MANY
            ),
            *(
                Contrast(f"alone, less the base as it is, {n:,} learners", _at("pv", n), "frozen")
                for n in _FEW_AND_MANY
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

GAP_CELLS = (
    *(_at("centre", n) for n in (*PEOPLE, 1000)),
    *(_at(name, n) for name in ("lora", "pv") for n in _FEW_AND_MANY),
)
"""Cells whose seen people are compared with unseen ones."""

GAP_CONTRASTS = tuple(
    Contrast(f"gap with P_v less gap without, {n:,} learners", _at("centre", n), _at("lora", n))
    for n in _FEW_AND_MANY
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
        """Seeds that all of some cells were run with; none of a cell that the design has not."""
        if not set(cells) <= {cell.name for cell in self.design.cells}:
            return []
        return [s for s in self.design.seeds if all(self._run(c, s) in self.told for c in cells)]

    def runs(self, cell: str) -> list[CellAnswers]:
        """Complete runs of a cell."""
        seeds = self.design.seeds_of(self.design.cell(cell))
        return [self.told[cell, seed] for seed in seeds if (cell, seed) in self.told]

    def shares_a_base(self, contrast: Contrast) -> bool:
        """Whether both cells begin with one base; there is but one of each kind."""
        first, second = (self.design.cell(name) for name in (contrast.first, contrast.second))
        return first.base == second.base

    def on_trained(self, first: str, second: str | None, count: int) -> Estimate | None:
        """Top-1 of a cell, or less that of another, on unseen people of the learners' communities.

        Args:
            first, second: cells; None: the first by itself.
            count: of references.

        Returns:
            None where one of them has not been run.

        Raises:
            ValueError: if two runs were not asked about the same people.
        """
        differences = self._differences(first, second, self.design.trained.name, count)
        return None if differences is None else crossed(differences)

    def on_new(self, first: str, second: str | None, count: int) -> Estimate | None:
        """The same on other communities; what is drawn there are populations, not people."""
        means = []
        for world in self.design.new:
            differences = self._differences(first, second, world.name, count)
            if differences is None:
                return None
            means.append(differences.mean(axis=1))
        return crossed(np.stack(means, axis=1))

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

    def _run(self, cell: str, seed: int) -> tuple[str, int]:
        """Cell and seed of the run that answers for a seed."""
        seeds = self.design.seeds_of(self.design.cell(cell))
        return cell, seed if seed in seeds else seeds[0]

    def _differences(
        self, first: str, second: str | None, group: str, count: int
    ) -> Float[np.ndarray, "S U"] | None:
        """By seed and person of a group, the share that is right; less that of the second."""
        cells = [cell for cell in (first, second) if cell is not None]
        seeds = self.seeds(*cells)
        if not seeds:
            return None
        users = sorted(self._shares(first, seeds[0], group, count))
        tables = [
            np.array([self._of(users, cell, seed, group, count) for seed in seeds])
            for cell in cells
        ]
        return tables[0] if second is None else np.asarray(tables[0] - tables[1])

    def _of(
        self, users: Sequence[str], cell: str, seed: int, group: str, count: int
    ) -> list[float]:
        """Of these very users, in this order."""
        own = self._shares(cell, seed, group, count)
        if own.keys() != set(users):
            raise ValueError(
                f"the answers of {cell}, seed {seed}, must be about the {len(users)} people of"
                f" {group} that the others were asked about, and are about {len(own)}, not all of"
                " them the same: remove them, and run again"
            )
        return [own[user] for user in users]

    def _shares(self, cell: str, seed: int, group: str, count: int) -> Mapping[str, float]:
        return self.told[self._run(cell, seed)].groups[group].by_references[str(count)]
