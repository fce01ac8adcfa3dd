"""How far scores move when references, or the two images of each, are read in another order."""

from dataclasses import dataclass

from scipy.special import expit

from training.evaluation.answers import Compared, difference, margins, pair_scores, top1
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure, over_users
from training.evaluation.questions import Samples, disliked_first, in_random_pair_order
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
        disliked_first: top-1 where the disliked image of each reference is read first, and how much
            better the liked one first is, as served.
        random_pair_order: the same where the order within each reference is drawn.
    """

    spread: Figure
    averaged_gain: Figure
    num_orders: int
    disliked_first: Compared
    random_pair_order: Compared


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

    def compared(samples: Samples) -> Compared:
        other = margins(pair_scores(judge.ours, samples))
        return Compared(top1(other), difference(judge.own_margins("unseen"), other))

    return ReferenceOrder(
        spread=over_users(spreads, n_pairs=n_pairs),
        averaged_gain=difference(answers, judge.own_margins("unseen")),
        num_orders=NUM_ORDERS,
        disliked_first=compared(disliked_first(judge.asked.unseen)),
        random_pair_order=compared(in_random_pair_order(judge.asked.unseen, seed=judge.seed)),
    )


def section(result: ReferenceOrder) -> Section:
    """What orders of the references do, and orders within them."""
    rows = [
        figure_row("standard deviation of Q over the orders", result.spread),
        figure_row("gain from averaging them, points", result.averaged_gain, points),
        figure_row("top-1, disliked image of each reference first", result.disliked_first.top1),
        figure_row(
            "liked first less disliked first, points", result.disliked_first.ours_minus, points
        ),
        figure_row("top-1, order within each reference drawn", result.random_pair_order.top1),
        figure_row("liked first less drawn, points", result.random_pair_order.ours_minus, points),
    ]
    caption = (
        f"{result.num_orders} orders of the same references; the model is served each reference's"
        " liked image first."
    )
    return Section("Order of the references", [figure_grid("figure", rows, caption=caption)])


TABLE = ReportTable("order", measure, section)
