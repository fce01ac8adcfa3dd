"""Top-1 behind the newest 0, 1, 2... references (paper, Fig. 5)."""

from collections.abc import Mapping
from dataclasses import dataclass

from recsys.counts import counted
from training.evaluation.answers import margins, pair_scores, top1
from training.evaluation.bounds import best_by_references
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.plots import reference_plot
from training.evaluation.questions import REFERENCE_COUNTS, Samples, with_references
from training.evaluation.section import Grid, Plot, Section, figure_grid, figure_row, known
from training.evaluation.tables.table import ReportTable


@dataclass(frozen=True)
class ByReferences:
    """Figures by number of references, as text.

    Attributes:
        ours: the judged scorer's.
        best: the best possible, where a world's truth is known.
        seen: the judged scorer's, of seen users, asked as in the paper alone.
    """

    ours: Mapping[str, Figure]
    best: Mapping[str, Figure] | None = None
    seen: Mapping[str, Figure] | None = None


def measure(judge: Judge) -> ByReferences | None:
    """Ask the same pairs behind fewer references."""
    asked = judge.asked
    if not asked.unseen:
        return None
    seen = _by_count(judge, asked.seen) if asked.follows_paper and asked.seen else None
    best, truth = None, judge.truth_of(asked.unseen)
    if truth is not None:
        judge.progress("best possible by number of references")
        best = best_by_references(
            asked.unseen, asked.table, truth, REFERENCE_COUNTS, seed=judge.seed
        )
    return ByReferences(_by_count(judge, asked.unseen), best, seen)


def _by_count(judge: Judge, samples: Samples) -> dict[str, Figure]:
    most = max(len(sample.references) for sample in samples.values())
    figures = {}
    for count in (each for each in REFERENCE_COUNTS if each <= most):
        judge.progress(counted(count, "reference"))
        figures[str(count)] = top1(
            margins(pair_scores(judge.ours, with_references(samples, count)))
        )
    return figures


def section(result: ByReferences) -> Section:
    """Both curves and their numbers."""
    best, seen = result.best or {}, result.seen or {}
    rows = [figure_row(count, figure) for count, figure in result.ours.items()]
    rows += [figure_row(f"{count}, seen users", figure) for count, figure in seen.items()]
    rows += [figure_row(f"{count}, best possible", figure) for count, figure in best.items()]
    parts: list[Plot | Grid] = []
    if ours := dict(known(result.ours.items())):
        caption = "The same pairs behind the newest references, so many of them."
        parts.append(Plot(lambda: reference_plot(ours, dict(known(best.items()))), caption))
    return Section("By number of references", [*parts, figure_grid("reference pairs", rows)])


def layout(result: ByReferences | None) -> Mapping[str, object]:
    """Ours under a key of its own, seen users' and the best possible beside their like."""
    if result is None:
        return {}
    best = {} if result.best is None else {"world": {"by_references": result.best}}
    seen = {} if result.seen is None else {"seen": {"by_references": result.seen}}
    return {"by_references": result.ours, **best, **seen}


TABLE = ReportTable("by_references", measure, section, layout)
