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
from training.evaluation.tables.as_paper import CAPTION, as_paper_grids
from training.evaluation.tables.table import ReportTable


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
    """Ask one baseline after the other."""
    if not judge.asked.unseen:
        return None
    plain = without_weights(judge.asked.known(), judge.features, seed=judge.seed)
    by_name = {each.name: judge.compare(each) for each in plain}
    asked = {name: _weighted(judge, name) for name in WEIGHTED}
    by_name |= {name: each for name, each in asked.items() if isinstance(each, Compared)}
    missing = tuple(each for each in asked.values() if isinstance(each, Missing))
    return Baselines(by_name, missing, judge.own_opposed())


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
    parts: list[str | Grid | Plot] = []
    if rows:
        parts.append(compared_grid("baseline", "ours less theirs", rows, caption=caption))
    as_paper = {
        name.replace("_", " "): each.as_paper
        for name, each in result.by_name.items()
        if each.as_paper is not None
    }
    if as_paper:
        parts += [CAPTION, *as_paper_grids(as_paper)]
    if result.own_opposed is not None:
        parts += _opposed_plot(result.own_opposed, result.by_name)
    if result.missing:
        gone = [(each.what.replace("_", " "), each.why) for each in result.missing]
        parts.append(Grid(("not measured", "why"), gone, is_prose=True))
    return Section("Baselines", parts)


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


def _weighted(judge: Judge, name: str) -> Compared | Missing:
    """Ask a baseline with public weights, which is let go on return: some take 33 GB in float32.

    It computes where the judged scorer does, and on its kind of base in its type, too.
    """
    base = judge.scorer.backbone
    try:
        if judge.weights is None:
            raise WeightsMissing("no folder of weights was named: pass --weights")
        predictor = load_weighted(
            name,
            judge.weights,
            images=judge.images,
            features=judge.features_of,
            device=str(base.device),
            dtype=base.dtype,
        )
    except WeightsMissing as error:
        return Missing(name, str(error))
    return judge.compare(predictor)


TABLE = ReportTable("baselines", measure, section, layout)
