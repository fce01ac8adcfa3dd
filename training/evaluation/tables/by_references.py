"""Top-1 behind the newest 0, 1, 2... references (paper, Fig. 5)."""

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.counts import counted
from training.evaluation.answers import margins, pair_scores, top1
from training.evaluation.bounds import best_by_references
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.plots import reference_plot
from training.evaluation.questions import with_references
from training.evaluation.section import Grid, Plot, Section, figure_grid, figure_row, known
from training.evaluation.tables.table import ReportTable

REFERENCE_COUNTS = (0, 1, 2, 4, 8)


@dataclass(frozen=True)
class ByReferences:
    """Figures by number of references, as text.

    Attributes:
        ours: the judged scorer's.
        best: the best possible, where a world's truth is known.
    """

    ours: Mapping[str, Figure]
    best: Mapping[str, Figure] | None = None


def measure(judge: Judge) -> ByReferences | None:
    """Ask the same pairs behind fewer references."""
    asked = judge.asked
    if not asked.unseen:
        return None
    most = max(len(sample.references) for sample in asked.unseen.values())
    ours = {}
    for count in (each for each in REFERENCE_COUNTS if each <= most):
        judge.progress(counted(count, "reference"))
        ours[str(count)] = top1(
            margins(pair_scores(judge.ours, with_references(asked.unseen, count)))
        )
    best, truth = None, judge.truth_of(asked.unseen)
    if truth is not None:
        judge.progress("best possible by number of references")
        best = best_by_references(
            asked.unseen, asked.table, truth, REFERENCE_COUNTS, seed=judge.seed
        )
    return ByReferences(ours, best)


def section(result: ByReferences) -> Section:
    """Both curves and their numbers."""
    best = result.best or {}
    rows = [figure_row(count, figure) for count, figure in result.ours.items()]
    rows += [figure_row(f"{count}, best possible", figure) for count, figure in best.items()]
    parts: list[Plot | Grid] = []
    if ours := dict(known(result.ours.items())):
        caption = "The same pairs behind the newest references, so many of them."
        parts.append(Plot(lambda: reference_plot(ours, dict(known(best.items()))), caption))
    return Section("By number of references", [*parts, figure_grid("reference pairs", rows)])


def layout(result: ByReferences | None) -> Mapping[str, object]:
    """Ours under a key of its own, the best possible among the world's bounds."""
    if result is None:
        return {}
    best = {} if result.best is None else {"world": {"by_references": result.best}}
    return {"by_references": result.ours, **best}


TABLE = ReportTable("by_references", measure, section, layout)
