"""The same questions with something taken away: the own history, the labels, the prompts."""

from dataclasses import dataclass

from training.evaluation.answers import Margins, difference, margins, pair_scores, top1
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.questions import (
    Samples,
    behind_strangers,
    exchanged_in_place,
    swapped,
    without_prompts,
)
from training.evaluation.section import Section, figure_grid, figure_row, points
from training.evaluation.tables.table import ReportTable


@dataclass(frozen=True)
class Controls:
    """Top-1 behind a changed history.

    Attributes:
        shuffled_history: behind another user's references.
        personal: own history less another's, paired by user.
        swapped_labels: likes called dislikes, images moved: a model that reads labels or places
            falls below 50 %.
        exchanged_labels: likes called dislikes, each image in its place: a model that reads labels
            falls below 50 %, one that reads places does not notice.
        no_prompt: without a word.
        random_references: references and pairs drawn at random, as in the paper; none where pairs
            were named.
    """

    shuffled_history: Figure
    personal: Figure
    swapped_labels: Figure
    exchanged_labels: Figure
    no_prompt: Figure
    random_references: Figure | None = None


def measure(judge: Judge) -> Controls | None:
    """Ask the unseen users' questions again, each time changed in one thing."""
    samples = judge.asked.unseen
    if not samples:
        return None

    def answers(what: str, changed: Samples) -> Margins:
        judge.progress(what)
        return margins(pair_scores(judge.ours, changed))

    random = judge.asked.random
    shuffled = answers("shuffled history", behind_strangers(samples, seed=judge.seed))
    return Controls(
        shuffled_history=top1(shuffled),
        personal=difference(judge.own_margins("unseen"), shuffled),
        swapped_labels=top1(answers("swapped labels", swapped(samples))),
        exchanged_labels=top1(answers("exchanged labels", exchanged_in_place(samples))),
        no_prompt=top1(answers("no prompt", without_prompts(samples))),
        random_references=top1(answers("random references", random)) if random else None,
    )


def section(result: Controls) -> Section:
    """A row a control, and the difference that the own history makes."""
    rows = [
        figure_row("behind another user's history", result.shuffled_history),
        figure_row("own history less another's, points", result.personal, points),
        figure_row("likes called dislikes, images moved", result.swapped_labels),
        figure_row("likes called dislikes, images in place", result.exchanged_labels),
        figure_row("without prompts", result.no_prompt),
        figure_row("references and pairs at random, as in the paper", result.random_references),
    ]
    caption = (
        "One liked against one disliked again, with something taken away. Where likes are called"
        " dislikes, a model that reads the labels falls below 50 % in either row, and one that"
        " tells liked from disliked by their places only where the images are moved."
    )
    return Section("Controls", [figure_grid("control", rows, caption=caption)])


TABLE = ReportTable(
    "controls", measure, section, lambda result: {"unseen": result} if result else {}
)
