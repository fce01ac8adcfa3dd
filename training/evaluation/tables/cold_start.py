"""What others' choices are worth to users who have made few."""

from collections.abc import Mapping
from typing import Any

from training.evaluation.coldstart_judge import judge_cold_start
from training.evaluation.judge import Judge
from training.evaluation.section import Grid, Section, hundredths, points, with_interval
from training.evaluation.tables.table import Table

WAYS = {
    "alone": "model alone",
    "classes": "others' taste alone",
    "borrowing": "both: what is served",
    "best_possible": "best possible",
}


def measure(judge: Judge) -> Mapping[str, Any] | None:
    """Fit cold start to everybody else and judge unseen users; None with too few to borrow from."""
    return judge.once(
        "cold start",
        lambda: judge_cold_start(
            judge.scorer,
            judge.asked.histories,
            judge.features,
            judge.asked.unseen,
            truth=judge.truth,
            seed=judge.seed,
            tell=judge.tell,
        ),
    )


def section(result: Mapping[str, Any]) -> Section:
    """A row a way, a column a number of own references."""
    told = (
        f"The model alone, beside what {result['num_lent_pairs']:,} pairs of"
        f" {result['num_lenders']:,} other people add: {result['num_classes']} classes of taste."
    )
    columns = result["by_references"].values()
    rows = [
        (label, *(with_interval(each.get(way), hundredths) for each in columns))
        for way, label in WAYS.items()
        if any(way in each for each in columns)
    ]
    rows.append(
        ("gain of both, points", *(with_interval(each["gain"], points) for each in columns))
    )
    if any("closed" in each for each in columns):
        closed = (with_interval(each.get("closed"), hundredths) for each in columns)
        rows.append(("share of the gap to the best possible", *closed))
    caption = "Pairs ranked correctly, in %: mean over users and 95 % interval."
    grid = Grid(("own references", *result["by_references"]), rows, caption)
    return Section("Cold start", [told, grid])


def layout(result: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Null where nobody is left to borrow from."""
    return {"cold_start": result}


TABLE = Table("cold_start", measure, section, layout)
