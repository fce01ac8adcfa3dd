"""The paper's own tables, by its own count: of all questions to the users of the test files.

Its printed shares are those of 2,234 questions, 459 of seen and 1,775 of unseen users: as many as
the test set has images. So each liked image is a question, against one and against three, and a
user counts as often as asked.
"""

from collections.abc import Mapping

from training.evaluation.answers import AsPaper
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.section import Grid, Section, hundredths, with_interval
from training.evaluation.tables.table import ReportTable

CAPTION = (
    "Shares of all questions to the users of the test files, in %: a user counts as often as asked,"
    " where the other figures are means over users."
)


def measure(judge: Judge) -> AsPaper | None:
    """Ask the judged scorer."""
    if judge.asked.follows_paper:
        judge.progress("the paper's tables")
    return judge.as_paper(judge.ours)


def section(result: AsPaper) -> Section:
    """The checkpoint alone; baselines have a row each in their own section."""
    return Section(
        "Counted as in the paper", [CAPTION, *as_paper_grids({"this checkpoint": result})]
    )


def as_paper_grids(answered: Mapping[str, AsPaper]) -> list[Grid]:
    """The paper's Tab. 1 and 3, Tab. 2 and Fig. 6.

    Args:
        answered: by predictor.
    """
    counts = list(dict.fromkeys(n for each in answered.values() for n in each.by_references))
    return [
        Grid(
            ("predictor", "all users", "seen", "unseen", "questions"),
            [
                (name, *map(_cell, (each.top1, each.seen, each.unseen)), each.top1.n_pairs)
                for name, each in answered.items()
            ],
            "One liked against one disliked (Tab. 1 and 3).",
        ),
        Grid(
            ("predictor", *(f"among the first {n}" for n in (1, 2, 3))),
            [
                (name, *(_cell(each.of_four.get(f"top{n}")) for n in (1, 2, 3)))
                for name, each in answered.items()
            ],
            "The liked image beside three disliked ones (Tab. 2); chance is 25, 50 and 75 %.",
        ),
        Grid(
            ("predictor", *counts),
            [
                (name, *(_cell(each.by_references.get(n)) for n in counts))
                for name, each in answered.items()
            ],
            "One liked against one disliked, behind so many references (Fig. 6).",
        ),
    ]


def _cell(figure: Figure | None) -> str:
    return with_interval(figure, hundredths)


TABLE = ReportTable("as_paper", measure, section)
