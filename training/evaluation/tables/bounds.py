"""Predictors that know the synthetic world, on the same pairs."""

from dataclasses import dataclass

from training.evaluation.bounds import world_figures
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure, accuracy
from training.evaluation.section import Section, figure_grid, figure_row
from training.evaluation.tables.table import ReportTable


@dataclass(frozen=True)
class Bounds:
    """What a world allows.

    Attributes:
        known_taste: top-1 if each taste were known.
        best_possible: top-1 of the posterior given the same references.
        best_unadapted: the same of who knows how communities are drawn, but not which there are:
            the most that a scorer can reach among people of communities that it never saw.
        average_taste: top-1 of the communities' mean taste.
        gap_closed: (own - average taste) / (best possible - average taste).
    """

    known_taste: Figure
    best_possible: Figure
    best_unadapted: Figure
    average_taste: Figure
    gap_closed: Figure


def measure(judge: Judge) -> Bounds | None:
    """Ask four oracles; None unless a world's truth knows all users asked."""
    asked, truth = judge.asked, judge.truth_of(judge.asked.unseen)
    if truth is None or not asked.unseen:
        return None
    judge.progress("the world's bounds")
    own = {user: accuracy(each) for user, each in judge.own_margins("unseen").items()}
    figures = world_figures(own, asked.unseen, asked.table, truth, seed=judge.seed)
    return Bounds(**figures)


def section(result: Bounds) -> Section:
    """A row an oracle."""
    rows = [
        figure_row("if each taste were known", result.known_taste),
        figure_row("best possible from the same references", result.best_possible),
        figure_row("the same, without knowing the communities", result.best_unadapted),
        figure_row("the average taste", result.average_taste),
        figure_row(
            "share of the gap from the average taste to the best possible that is closed",
            result.gap_closed,
        ),
    ]
    caption = "Predictors that know the synthetic world, on the same pairs."
    return Section("What this world allows", [figure_grid("predictor", rows, caption=caption)])


TABLE = ReportTable("bounds", measure, section, lambda result: {"world": result} if result else {})
