"""The same recipe with one thing changed: other checkpoints on the same pairs."""

from dataclasses import dataclass

from training.evaluation.answers import AsPaper
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.plots import difference_plot
from training.evaluation.section import Grid, Plot, Section, known
from training.evaluation.tables.as_paper import CAPTION, as_paper_grids
from training.evaluation.tables.baselines import compared_grid, compared_row
from training.evaluation.tables.table import ReportTable


@dataclass(frozen=True)
class Variant:
    """Another checkpoint, and how it did on the same pairs.

    Attributes:
        name: as it was given.
        top1: its share of pairs ranked correctly.
        minus_full: that less the judged checkpoint's, paired by user.
        opposed: its share of opposed pairs, where there are any.
        as_paper: how it does by the paper's own count; asked as in the paper alone.
    """

    name: str
    top1: Figure
    minus_full: Figure
    opposed: Figure | None = None
    as_paper: AsPaper | None = None


def measure(judge: Judge) -> tuple[Variant, ...] | None:
    """Load and ask one checkpoint after the other."""
    if not judge.asked.unseen:
        return None
    variants = []
    for name in judge.against:
        compared = judge.compare(judge.another(name))
        less = -compared.ours_minus
        variants.append(Variant(name, compared.top1, less, compared.opposed, compared.as_paper))
    return tuple(variants)


def section(result: tuple[Variant, ...]) -> Section | None:
    """A row and a dot for each variant."""
    if not result:
        return None
    rows = [compared_row(v.name, v.top1, v.minus_full, v.opposed) for v in result]
    caption = (
        "The same recipe with one thing changed. The difference is to this checkpoint, "
        "in percentage points, paired by user."
    )
    parts: list[str | Grid | Plot] = []
    if shown := known((each.name, each.minus_full) for each in result):
        seen = (
            "Top-1 of each variant less that of this checkpoint, with 95 % intervals; "
            "the dotted line is no difference."
        )
        parts.append(Plot(lambda: difference_plot(shown), seen))
    parts.append(compared_grid("variant", "less this checkpoint", rows, caption=caption))
    if as_paper := {each.name: each.as_paper for each in result if each.as_paper is not None}:
        parts += [CAPTION, *as_paper_grids(as_paper)]
    return Section("Ablations", parts)


TABLE = ReportTable("ablations", measure, section, lambda result: {"ablations": result or ()})
