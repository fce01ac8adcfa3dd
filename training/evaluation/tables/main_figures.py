"""One liked image against one disliked, of users never learned from."""

from dataclasses import dataclass

from training.evaluation.answers import top1
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.section import Section, figure_grid, figure_row
from training.evaluation.tables.table import ReportTable


@dataclass(frozen=True)
class MainFigures:
    """How often the liked image is put first.

    Attributes:
        top1: of one liked and one disliked image.
        opposed: of pairs on which two users disagree, where there are any.
    """

    top1: Figure
    opposed: Figure | None = None


def measure(judge: Judge) -> MainFigures | None:
    """Ask about every pair of the unseen users."""
    if not judge.asked.unseen:
        return None
    return MainFigures(top1(judge.own_margins("unseen")), judge.own_opposed())


def section(result: MainFigures) -> Section:
    """Both figures."""
    rows = [
        figure_row("one liked against one disliked", result.top1),
        figure_row("opposed pairs: two users disagree", result.opposed),
    ]
    caption = (
        "Users never learned from. Whatever ignores the user gets exactly 50 % of opposed pairs."
    )
    return Section("One liked against one disliked", [figure_grid("figure", rows, caption=caption)])


TABLE = ReportTable("unseen", measure, section, lambda result: {"unseen": result or {}})
