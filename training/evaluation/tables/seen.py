"""Users learned from, on choices that were not."""

from collections.abc import Mapping
from dataclasses import dataclass

from training.evaluation.answers import top1, unpaired_difference
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.section import Section, figure_grid, figure_row, points
from training.evaluation.tables.table import ReportTable


@dataclass(frozen=True)
class Seen:
    """What having learned from a user is worth beyond reading the history.

    Attributes:
        top1: seen users, one liked against one disliked.
        minus_unseen: less that of unseen users, where there are any.
    """

    top1: Figure
    minus_unseen: Figure | None = None


def measure(judge: Judge) -> Seen | None:
    """Ask seen users about choices newer than any learned from."""
    if not judge.asked.seen:
        return None
    own, less = judge.own_margins("seen"), None
    if judge.asked.unseen:
        less = unpaired_difference(own, judge.own_margins("unseen"), seed=judge.seed)
    return Seen(top1(own), less)


def section(result: Seen) -> Section:
    """Both figures."""
    rows = [
        figure_row("one liked against one disliked", result.top1),
        figure_row("seen less unseen users, points", result.minus_unseen, points),
    ]
    caption = "Choices that were not learned from, about images that were not either."
    return Section("Users learned from", [figure_grid("figure", rows, caption=caption)])


def layout(result: Seen | None) -> Mapping[str, object]:
    """Two keys of their own."""
    if result is None:
        return {}
    return {"seen": {"top1": result.top1}, "seen_minus_unseen": result.minus_unseen}


TABLE = ReportTable("seen", measure, section, layout)
