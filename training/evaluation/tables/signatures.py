"""Which vectors find neighbours of like taste, and how settled the shipped signatures are."""

from collections.abc import Mapping
from typing import Any

from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.plots import signature_plot
from training.evaluation.section import (
    NOTHING,
    Cell,
    Grid,
    Plot,
    Section,
    known,
    number,
    percent,
    with_interval,
)
from training.evaluation.signature_judge import judge_signatures
from training.evaluation.tables.table import Table

NAMES = {
    "shipped": "shipped: the probes' scores, projected",
    "shipped_whole": "shipped, of the whole history",
    "attention": "attention signature: log-ratios, projected",
    "attention_eq6": "attention as in Eq. 6",
    "attention_full": "attention sliced from the full softmax",
    "attention_log_ratio": "attention as log-ratios",
    "probe_scores": "scores of the probes",
    "image_difference": "mean liked less mean disliked image tokens",
    "last_hidden": "last hidden state of the references",
    "posterior": "mean taste given the references: the ceiling",
    "true_taste": "true tastes: the ceiling",
}


def measure(judge: Judge) -> Mapping[str, Any] | None:
    """Signatures of the unseen users, or why there are none."""
    return judge_signatures(
        judge.scorer,
        judge.folder,
        judge.asked.histories,
        judge.features,
        list(judge.asked.unseen),
        truth=judge.truth,
        seed=judge.seed,
        tell=judge.tell,
    )


def section(result: Mapping[str, Any]) -> Section:
    """The rivals as a plot and a grid, and how settled the shipped ones are."""
    if "why" in result:
        return Section("Signatures", [f"Not measured: {result['why']}."])
    rows = known((NAMES[name], row.get("taste")) for name, row in result["rivals"].items())
    caption = (
        "Mean cosine of true taste to the 10 nearest neighbours. "
        "Dots are means, bars 95 % intervals, the dotted line is random users."
    )
    plots = [Plot(lambda: signature_plot(rows), caption)] if rows else []
    told = [_agreement(result["communities"])] if "communities" in result else []
    return Section(
        "Signatures", [_protocol(result), *plots, _rivals(result), _settled(result), *told]
    )


def _protocol(result: Mapping[str, Any]) -> str:
    return (
        f"{result['num_users']} users never learned from. Each history is shuffled and cut into two"
        f" halves of at most {result['num_references']} references, and every row but one reads the"
        " same first half; the whole history is one pair of each choice, at most"
        f" {result['num_whole']}, in parts of as many as the model reads at once. Readings are of"
        f" {result['num_probes']} probes, averaged over {result['num_orders']} orders; what is not"
        " projected is centred on the mean of these users. Intervals are by bootstrap over users;"
        " neighbours stay the same."
    )


def _rivals(result: Mapping[str, Any]) -> Grid:
    rows: list[tuple[Cell, ...]] = [
        (NAMES[name], _told(row.get("taste")), _share(row.get("of_ceiling")), _told(row.get("mrr")))
        for name, row in result["rivals"].items()
    ]
    less = result["shipped_minus"]
    name = "shipped less image difference, paired by user"
    rows.append((name, _told(less.get("taste")), NOTHING, _told(less.get("mrr"))))
    caption = (
        "Taste: mean cosine of true taste to the 10 nearest neighbours, 0 for random users and 1"
        " for the true nearest. Other half: mean reciprocal rank of a user's second half among"
        f" everybody's, {number(result['chance_mrr'], 3)} by chance."
    )
    return Grid(("signature", "taste", "of the ceiling", "other half"), rows, caption)


def _settled(result: Mapping[str, Any]) -> Grid:
    rows = [
        (name, _told(figure), figure.n_users)
        for name, figure in [
            ("same references in other orders", result["stability"]),
            *((f"{count} references", figure) for count, figure in result["drift"].items()),
        ]
    ]
    caption = (
        "How settled shipped signatures are: mean cosine to the same references in other orders,"
        " and of the first references to all of the history (users who have more, in random order)."
    )
    return Grid(("signature", "cosine", "users"), rows, caption)


def _agreement(communities: Mapping[str, Any]) -> str:
    return (
        "k-means clusters, as many as the world has communities"
        f" ({communities['num_clusters']}), agree with them by an adjusted Rand index of"
        f" {number(communities['shipped'])} (shipped), {number(communities['shipped_whole'])}"
        f" (shipped, of the whole history) and {number(communities['true_taste'])} (true tastes:"
        " the ceiling)."
    )


def _told(figure: Figure | None) -> str:
    return with_interval(figure, lambda value: number(value, 3))


def _share(figure: Figure | None) -> str:
    return NOTHING if figure is None else percent(figure.value)


TABLE = Table("signatures", measure, section)
