"""How far scores move when the references are reordered, and what averaging gains."""

from dataclasses import dataclass

from scipy.special import expit

from training.evaluation.answers import difference
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure, over_users
from training.evaluation.section import Section, figure_grid, figure_row, points
from training.evaluation.tables.table import ReportTable
from training.predictors.scorer import Averaged

NUM_ORDERS = 5


@dataclass(frozen=True)
class ReferenceOrder:
    """What the order of the references does.

    Attributes:
        spread: mean standard deviation of Q over the orders.
        averaged_gain: top-1 of logits averaged over the orders less that of the given one.
        num_orders: so many.
    """

    spread: Figure
    averaged_gain: Figure
    num_orders: int


def measure(judge: Judge) -> ReferenceOrder | None:
    """Ask the unseen users' questions behind every order."""
    if not judge.asked.unseen:
        return None
    judge.progress("re-orderings")
    averaged = Averaged(judge.ours, num_orders=NUM_ORDERS, seed=judge.seed)
    spreads, answers = [], {}
    for user, sample in judge.asked.unseen.items():
        logits = averaged.of_pairs(user, sample)  # (orders, 2 N)
        spreads.append(float(expit(logits).std(axis=0).mean()))
        mean = logits.mean(axis=0).reshape(-1, 2)
        answers[user] = mean[:, 0] - mean[:, 1]
    n_pairs = sum(each.size for each in answers.values())
    return ReferenceOrder(
        spread=over_users(spreads, n_pairs=n_pairs),
        averaged_gain=difference(answers, judge.own_margins("unseen")),
        num_orders=NUM_ORDERS,
    )


def section(result: ReferenceOrder) -> Section:
    """Both figures."""
    rows = [
        figure_row("standard deviation of Q over the orders", result.spread),
        figure_row("gain from averaging them, points", result.averaged_gain, points),
    ]
    caption = f"{result.num_orders} orders of the same references."
    return Section("Order of the references", [figure_grid("figure", rows, caption=caption)])


TABLE = ReportTable("order", measure, section)
