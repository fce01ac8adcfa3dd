"""One liked image among three disliked ones (paper, Tab. 2)."""

from dataclasses import dataclass

from training.evaluation.answers import top_of_four
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.section import Section, figure_grid, figure_row
from training.evaluation.tables.table import ReportTable


@dataclass(frozen=True)
class OneOfFourFigures:
    """How often the liked image is among the first 1, 2 and 3; chance is 25, 50 and 75 %."""

    top1: Figure
    top2: Figure
    top3: Figure


def measure(judge: Judge) -> OneOfFourFigures | None:
    """Ask one question of each unseen user who passed over three images."""
    if not judge.asked.of_four:
        return None
    judge.progress("one of four")
    return OneOfFourFigures(**top_of_four(judge.ours, judge.asked.of_four))


def section(result: OneOfFourFigures) -> Section:
    """A row for each place."""
    rows = [
        figure_row(f"among the first {place} (chance {25 * place} %)", figure)
        for place, figure in enumerate((result.top1, result.top2, result.top3), start=1)
    ]
    return Section("One liked against three disliked", [figure_grid("the liked image", rows)])


TABLE = ReportTable(
    "of_four", measure, section, lambda result: {"unseen": {"of_four": result}} if result else {}
)
