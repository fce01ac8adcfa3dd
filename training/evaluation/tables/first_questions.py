"""What well chosen first questions to a new user are worth, beside random ones."""

from collections.abc import Mapping
from typing import Any

from training.evaluation.judge import Judge
from training.evaluation.section import Grid, Section, hundredths, points, with_interval
from training.evaluation.tables import cold_start
from training.evaluation.tables.table import Table


def measure(judge: Judge) -> Mapping[str, Any] | None:
    """Ask users of a synthetic world; None where its truth does not know them."""
    lent = cold_start.measure(judge)
    return None if lent is None else lent["onboarding"]


def section(result: Mapping[str, Any]) -> Section:
    """A row a way of choosing, a column a number of answers."""
    by_answers = result["by_answers"]
    ways = {"suggested": "suggested pairs", "random": "random pairs"}
    rows = [
        (label, *(with_interval(each[way], hundredths) for each in by_answers.values()))
        for way, label in ways.items()
    ]
    rows.append(("gain, points", *(with_interval(e["gain"], points) for e in by_answers.values())))
    caption = (
        "Pairs ranked correctly by others' taste alone, in %, behind answers to pairs of images."
    )
    return Section("First questions to a new user", [Grid(("answers", *by_answers), rows, caption)])


def layout(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Inside cold start's results."""
    return {} if result is None else {"cold_start": {"onboarding": result}}


TABLE = Table("first_questions", measure, section, layout)
