"""The paper's own tables, by its own count: of all questions to the users of the test files.

Its printed shares are those of 2,234 questions, 459 of seen and 1,775 of unseen users: as many as
the test set has images. So each liked image is a question, against one and against three, and a
user counts as often as asked.
"""

from collections.abc import Iterable, Mapping

from training.evaluation.answers import AsPaper
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.section import Cell, Grid, Section, with_interval
from training.evaluation.tables.table import ReportTable

WHOSE = "this checkpoint"


def measure(judge: Judge) -> AsPaper | None:
    """Ask the judged scorer."""
    if judge.asked.follows_paper:
        judge.progress("the paper's tables")
    return judge.as_paper(judge.ours)


def section(result: AsPaper) -> Section:
    """The checkpoint alone; baselines have a row each in their own section."""
    return Section("Counted as in the paper", as_paper_grids([(WHOSE, result)]))


def as_paper_grids(rows: Iterable[tuple[str, AsPaper]]) -> list[Grid]:
    """Tab. 1 to 3 in one grid, and Fig. 6.

    Args:
        rows: who was asked, and the answers.
    """
    rows = list(rows)
    caption = (
        "Shares of all questions to the users of the test files, so that a user counts as often as"
        " asked; the other figures are means over users. One liked against one disliked (Tab. 1 and"
        " 3), and one against three (Tab. 2)."
    )
    heads = ("", "top-1", "seen", "unseen", *(f"first {n} of four" for n in (1, 2, 3)))
    counts = list(dict.fromkeys(count for _, each in rows for count in each.by_references))
    behind = [(name, *_cells(each.by_references, counts)) for name, each in rows]
    return [
        Grid(heads, [(name, *_figures(each)) for name, each in rows], caption),
        Grid(("references", *counts), behind, "One against one, behind fewer references (Fig. 6)."),
    ]


def _figures(each: AsPaper) -> Iterable[Cell]:
    yield from map(with_interval, (each.top1, each.seen, each.unseen))
    yield from _cells(each.of_four, ("top1", "top2", "top3"))


def _cells(figures: Mapping[str, Figure], names: Iterable[str]) -> Iterable[Cell]:
    return [with_interval(figures.get(name)) for name in names]


TABLE = ReportTable("as_paper", measure, section)
