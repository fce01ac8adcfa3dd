"""Other predictors on the same questions: of the choices alone, and of public weights."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from training.baselines.registry import WEIGHTED, WeightsMissing, load_weighted
from training.baselines.unweighted import without_weights
from training.evaluation.answers import Compared
from training.evaluation.judge import Judge
from training.evaluation.metrics import Figure
from training.evaluation.plots import accuracy_plot
from training.evaluation.section import (
    Cell,
    Grid,
    Plot,
    Section,
    interval,
    known,
    percent,
    points,
    with_interval,
)
from training.evaluation.tables.table import ReportTable
from training.predictors.predictor import Predictor


@dataclass(frozen=True)
class Missing:
    """A baseline that was not asked, and why."""

    what: str
    why: str


@dataclass(frozen=True)
class Baselines:
    """The baselines' figures.

    Attributes:
        by_name: of those that were asked.
        missing: those that were not.
        own_opposed: the judged scorer's share of opposed pairs, where there are any.
    """

    by_name: Mapping[str, Compared]
    missing: tuple[Missing, ...] = ()
    own_opposed: Figure | None = None


def measure(judge: Judge) -> Baselines | None:
    """Ask one baseline after the other; each is let go before the next is loaded."""
    if not judge.asked.unseen:
        return None
    missing: list[Missing] = []
    plain = without_weights(judge.asked.known(), judge.features, seed=judge.seed)
    by_name = {each.name: judge.compare(each) for each in plain}
    by_name |= {each.name: judge.compare(each) for each in _weighted(judge, missing)}
    return Baselines(by_name, tuple(missing), judge.own_opposed())


def section(result: Baselines) -> Section:
    """A row a baseline, the opposed pairs as a plot, and what is missing."""
    caption = (
        "The same questions. The difference is ours less theirs, in percentage points,"
        " paired by user."
    )
    rows = [
        compared_row(name.replace("_", " "), each.top1, each.ours_minus, each.opposed)
        for name, each in result.by_name.items()
    ]
    parts: list[Grid | Plot] = []
    if rows:
        parts.append(compared_grid("baseline", "ours less theirs", rows, caption=caption))
    if any(each.seen or each.of_four for each in result.by_name.values()):
        parts.append(_as_paper(result.by_name))
    if result.own_opposed is not None:
        parts += _opposed_plot(result.own_opposed, result.by_name)
    if result.missing:
        gone = [(each.what.replace("_", " "), each.why) for each in result.missing]
        parts.append(Grid(("not measured", "why"), gone, is_prose=True))
    return Section("Baselines", parts)


def _as_paper(by_name: Mapping[str, Compared]) -> Grid:
    """What is asked as in the paper alone: seen users, and one of four."""
    heads = ("baseline", "top-1, seen users", *(f"first {n} of four" for n in (1, 2, 3)))
    rows = [
        (
            name.replace("_", " "),
            with_interval(each.seen),
            *(with_interval((each.of_four or {}).get(f"top{n}")) for n in (1, 2, 3)),
        )
        for name, each in by_name.items()
    ]
    return Grid(heads, rows, "Users learned from; and one liked against three disliked.")


def compared_grid(first: str, less: str, rows: Iterable[tuple[Cell, ...]], *, caption: str) -> Grid:
    """Rows of `compared_row` under their headings.

    Args:
        first: heading of the rows' names.
        less: heading of the difference.
        rows: of `compared_row`.
        caption: what they are.
    """
    heads = (first, "top-1", "95 % interval", less, "opposed pairs", "users", "pairs; opposed")
    return Grid(heads, list(rows), caption)


def compared_row(name: str, top1: Figure, less: Figure, opposed: Figure | None) -> tuple[Cell, ...]:
    """A predictor's figures, and a difference in percentage points."""
    pairs = f"{top1.n_pairs}; {opposed.n_pairs}" if opposed else str(top1.n_pairs)
    return (
        name,
        percent(top1.value),
        interval(top1),
        with_interval(less, points),
        with_interval(opposed),
        top1.n_users,
        pairs,
    )


def layout(result: Baselines | None) -> Mapping[str, object]:
    """The figures by name, and what is missing beside them."""
    if result is None:
        return {"baselines": {}, "missing": []}
    return {"baselines": result.by_name, "missing": result.missing}


def _opposed_plot(own: Figure, by_name: Mapping[str, Compared]) -> Iterator[Plot]:
    others = [(name.replace("_", " "), each.opposed) for name, each in by_name.items()]
    rows = known([("this checkpoint", own), *others])
    caption = (
        "Opposed pairs: one user prefers x to y, another y to x. "
        "Whatever ignores the user gets exactly 50 %."
    )
    if rows:
        yield Plot(lambda: accuracy_plot(rows), caption)


def _weighted(judge: Judge, missing: list[Missing]) -> Iterator[Predictor]:
    """Baselines whose public weights are there, one at a time: some take 33 GB.

    Args:
        judge: with the folder of weights.
        missing: receives those that are not there, and why.
    """
    for name in WEIGHTED:
        try:
            if judge.weights is None:
                raise WeightsMissing("no folder of weights was named: pass --weights")
            yield load_weighted(
                name, judge.weights, images=judge.images, features=judge.features_of
            )
        except WeightsMissing as error:
            missing.append(Missing(name, str(error)))


TABLE = ReportTable("baselines", measure, section, layout)
