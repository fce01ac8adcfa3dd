"""Where one candidate's tokens look behind several users' references (paper, Fig. 3)."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from training.evaluation.interpretation import attention_maps, data_url
from training.evaluation.judge import Judge
from training.evaluation.plots import attention_plot
from training.evaluation.section import Plot, Section, number
from training.evaluation.tables.table import ReportTable
from training.predictors.predictor import CandidateRow

NUM_USERS = 4
LEAST_MOVED = 0.1
"""Share of the attention that must go elsewhere for another user: less looks alike in a plot."""


@dataclass(frozen=True)
class Attention:
    """One user's maps.

    Attributes:
        user: whose references.
        image: data URL of the candidate, the same for all users.
        maps: of each order of the references, the share of each preference token; NaN if unknown.
    """

    user: str
    image: str
    maps: tuple[tuple[float, ...], ...]


def measure(judge: Judge) -> tuple[Attention, ...] | None:
    """Attention of the first user's first liked image behind the first users' references."""
    samples = judge.asked.unseen or judge.asked.seen
    if not samples or judge.scorer.config.num_preference_tokens == 0:
        return None
    judge.progress("attention")
    few = dict(list(samples.items())[:NUM_USERS])
    first = next(iter(few.values())).pairs[0]
    candidate = CandidateRow(first.liked, first.prompt)
    maps = attention_maps(judge.scorer, judge.features, few, candidate, seed=judge.seed)
    image = data_url(judge.stored(candidate.row))
    return tuple(
        Attention(user, image, tuple(map(tuple, rows.tolist()))) for user, rows in maps.items()
    )


def section(result: tuple[Attention, ...]) -> Section | None:
    """The users' mean maps below each other, where they differ enough to be seen."""
    means = np.array([np.mean(each.maps, axis=0) for each in result])
    between = _moved(means)
    if len(result) < 2 or not between >= LEAST_MOVED:
        return None
    within = float(np.mean([_moved(np.array(each.maps)) for each in result]))
    caption = (
        "The same image behind several users' references: where do its tokens look? (Eq. 6, mean"
        f" over tokens, heads, layers and orders.) From one user to another {number(between)} of"
        f" the attention goes to other tokens, from one order of the same references to another"
        f" {number(within)}."
    )
    names = [each.user for each in result]
    plot = Plot(lambda: attention_plot(means, names), caption, image=result[0].image)
    return Section("Attention to the preference tokens", [plot])


def _moved(rows: Float[np.ndarray, "N K"]) -> float:
    """Mean total variation distance between two rows, in [0, 1]; 0 for a single row."""
    distances = np.abs(rows[:, None] - rows[None]).sum(axis=2) / 2
    num_others = max(len(rows) - 1, 1)
    return float(distances.sum(axis=1).mean() / num_others)


TABLE = ReportTable("attention", measure, section)
