"""What others' choices are worth to users who have made few, beside the best that is possible.

Lenders are everybody who is not judged; those judged are users whom neither the model nor the
classes have learned from. With a world's truth, the best possible behind the same references (the
posterior given them and the communities) stands beside: no method can pass it on average.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from recsys.coldstart.fit import FEWEST_USERS, FitReport, fit_cold_start
from recsys.coldstart.learning import may_judge
from recsys.coldstart.population import ColdStart
from recsys.counts import counted
from recsys.history import Pair
from training.evaluation.answers import Margins
from training.evaluation.bounds import ByUser, gap_closed, world_accuracies
from training.evaluation.judge import Judge
from training.evaluation.lending import lenders, score_in_each_way
from training.evaluation.metrics import Figure, accuracy, over_users
from training.evaluation.questions import Samples, with_references
from training.evaluation.section import Grid, Section, hundredths, points, with_interval
from training.evaluation.tables.table import ReportTable

COUNTS = (0, 1, 2, 4, 8)
MOST_JUDGED = 400


@dataclass(frozen=True)
class Ways:
    """Figures behind one number of own references.

    Attributes:
        alone: the model alone.
        classes: others' taste alone.
        borrowing: the blend of both, which is served.
        gain: of the blend over the model alone, paired by user.
        best_possible: of the same references, where a world's truth is known.
        closed: share of the gap between model and best possible that the blend closes, where there
            certainly is one.
    """

    alone: Figure
    classes: Figure
    borrowing: Figure
    gain: Figure
    best_possible: Figure | None = None
    closed: Figure | None = None


@dataclass(frozen=True)
class ColdStartFigures:
    """What was learned from others, and what it is worth.

    Attributes:
        num_lenders, num_lent_pairs: learned from.
        num_classes: latent classes of taste.
        by_references: by number of own references, as text.
        blends: the served weights (others, own, nobody's) by number of own references.
    """

    num_lenders: int
    num_lent_pairs: int
    num_classes: int
    by_references: Mapping[str, Ways]
    blends: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, eq=False)
class Lent:
    """What unseen users borrow.

    Attributes:
        judged: at most `MOST_JUDGED` unseen users.
        lenders: pairs of each of the others.
        cold_start: learned from the lenders.
        report: of the fit.
    """

    judged: Samples
    lenders: tuple[tuple[Pair, ...], ...]
    cold_start: ColdStart
    report: FitReport


def lent(judge: Judge) -> Lent | None:
    """Fit cold start to everybody but the judged; None with too few to borrow from."""
    return judge.once("cold start", lambda: _fit(judge))


def measure(judge: Judge) -> ColdStartFigures | None:
    """Judge the model alone, the classes alone and their blend behind 0 to 8 own references."""
    borrowed = lent(judge)
    if borrowed is None:
        return None
    by_references = {}
    for count in (each for each in COUNTS if each <= judge.scorer.config.num_references):
        judge.progress(f"cold start: {count} own references")
        by_references[str(count)] = _ways(judge, borrowed, count)
    report = borrowed.report
    return ColdStartFigures(
        num_lenders=report.num_users,
        num_lent_pairs=report.num_pairs,
        num_classes=report.num_classes,
        by_references=by_references,
        blends=tuple(map(tuple, borrowed.cold_start.blends.tolist())),
    )


def section(result: ColdStartFigures) -> Section:
    """A row a way, a column a number of own references."""
    sentence = (
        f"The model alone, beside what {counted(result.num_lent_pairs, 'pair')} of"
        f" {counted(result.num_lenders, 'other person', 'other people')} add:"
        f" {counted(result.num_classes, 'class', 'classes')} of taste."
    )
    columns = result.by_references.values()
    rows = [
        (label, *(with_interval(figure, shown) for figure in figures))
        for label, shown, figures in (
            ("model alone", hundredths, [each.alone for each in columns]),
            ("others' taste alone", hundredths, [each.classes for each in columns]),
            ("both: what is served", hundredths, [each.borrowing for each in columns]),
            ("best possible", hundredths, [each.best_possible for each in columns]),
            ("gain of both, points", points, [each.gain for each in columns]),
            ("share of the gap to the best possible", hundredths, [e.closed for e in columns]),
        )
        if any(figures)
    ]
    caption = "Pairs ranked correctly, in %: mean over users and 95 % interval."
    grid = Grid(("own references", *result.by_references), rows, caption)
    return Section("Cold start", [sentence, grid])


def layout(result: ColdStartFigures | None) -> Mapping[str, object]:
    """Null where nobody is left to borrow from."""
    return {"cold_start": result}


def _fit(judge: Judge) -> Lent | None:
    judged = dict(list(judge.asked.unseen.items())[:MOST_JUDGED])
    lent = lenders(judge.asked.table, judged, seed=judge.seed)
    if len(judged) < 2 or len(lent) < FEWEST_USERS:
        return None
    cold_start, report = fit_cold_start(
        judge.scorer,
        tuple(lent.values()),
        judge.features,
        may_judge=may_judge(judge.learned, lent),
        seed=judge.seed,
        progress=lambda what: judge.progress(f"cold start: {what}"),
    )
    return Lent(judged, tuple(lent.values()), cold_start, report)


def _ways(judge: Judge, borrowed: Lent, count: int) -> Ways:
    """Each way's figure, what the blend gains, and the share of what is possible that it gains."""
    fewer = with_references(borrowed.judged, count)
    ways = score_in_each_way(judge.scorer, borrowed.cold_start, judge.features, fewer)
    alone, classes, both = map(_rights, (ways.alone, ways.classes, ways.blend))
    over = _over_pairs(fewer)
    best, closed, truth = None, None, judge.truth_of(borrowed.judged)
    if truth is not None:
        possible = world_accuracies(fewer, judge.asked.table, truth, seed=judge.seed)
        best = dict(possible["best_possible"])
        if over(_less(best, alone)).low > 0:  # else there may be no gap to close
            closed = gap_closed(*(list(each.values()) for each in (both, alone, best)))
    return Ways(
        alone=over(alone),
        classes=over(classes),
        borrowing=over(both),
        gain=over(_less(both, alone)),
        best_possible=None if best is None else over(best),
        closed=closed,
    )


def _over_pairs(samples: Samples) -> Callable[[ByUser], Figure]:
    n_pairs = sum(len(sample.pairs) for sample in samples.values())
    return lambda values: over_users([values[user] for user in samples], n_pairs=n_pairs)


def _less(first: ByUser, second: ByUser) -> ByUser:
    return {user: first[user] - second[user] for user in first}


def _rights(margins: Margins) -> ByUser:
    return {user: accuracy(own) for user, own in margins.items()}


TABLE = ReportTable("cold_start", measure, section, layout)
