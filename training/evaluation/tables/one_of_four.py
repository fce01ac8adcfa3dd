"""One liked image among three disliked ones (paper, Tab. 2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from training.evaluation.answers import hits_of_four, top_of_four
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.section import Cell, Section, figure_grid, figure_row
from training.evaluation.tables.table import ReportTable


@dataclass(frozen=True)
class OneOfFourFigures:
    """How often the liked image is among the first 1, 2 and 3; chance is 25, 50 and 75 %."""

    top1: Figure
    top2: Figure
    top3: Figure

    def rows(self, whose: str = "") -> list[Sequence[Cell] | None]:
        """A row for each place."""
        return [
            figure_row(f"among the first {place} (chance {25 * place} %){whose}", figure)
            for place, figure in enumerate((self.top1, self.top2, self.top3), start=1)
        ]


@dataclass(frozen=True)
class OneOfFourResult:
    """Of unseen users and of seen ones, where they were asked."""

    unseen: OneOfFourFigures | None
    seen: OneOfFourFigures | None = None


def measure(judge: Judge) -> OneOfFourResult | None:
    """Ask each user who passed over three images."""
    parts = judge.asked.of_four, judge.asked.of_four_seen
    if not any(parts):
        return None
    judge.progress("one of four")
    return OneOfFourResult(
        *(
            OneOfFourFigures(**top_of_four(hits_of_four(judge.ours, part))) if part else None
            for part in parts
        )
    )


def section(result: OneOfFourResult) -> Section:
    """A row for each place."""
    rows = result.unseen.rows() if result.unseen else []
    rows += result.seen.rows(", seen users") if result.seen else []
    return Section("One liked against three disliked", [figure_grid("the liked image", rows)])


def layout(result: OneOfFourResult | None) -> Mapping[str, object]:
    """Beside the other figures of unseen and of seen users."""
    if result is None:
        return {}
    parts = {"unseen": result.unseen, "seen": result.seen}
    return {name: {"of_four": part} for name, part in parts.items() if part is not None}


TABLE = ReportTable("of_four", measure, section, layout)
