"""Two checkpoints, each alone and blended with others' taste as it is served, on the same pairs.

What counts is the gain of what is served: where others' taste is blended in, that of one blend over
the other, for users with enough choices of their own that the model is read at all.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from recsys.coldstart.fit import fit_cold_start
from recsys.coldstart.population import ColdStart
from recsys.counts import counted
from recsys.history import Pair
from recsys.scorer.model import PreferenceScorer
from training.data.features import Features
from training.data.samples import PairTable
from training.evaluation.answers import Margins
from training.evaluation.bounds import ByUser, gap_closed, of_this_world, world_accuracies
from training.evaluation.comparison import (
    ByCount,
    Comparison,
    answers_by_references,
    behind,
    compare,
    counts_of,
)
from training.evaluation.lending import score_in_each_way
from training.evaluation.metrics import Figure, accuracy, over_users
from training.evaluation.questions import Samples
from training.evaluation.results import plain
from training.evaluation.section import Cell, Grid, percent, points, with_interval
from training.world.truth import WorldTruth

DECISIVE_COUNT = 4
"""From so many own pairs on the blend reads the model, and its gain decides."""


@dataclass(frozen=True, eq=False)
class WayAnswers:
    """What one checkpoint says of the same pairs, by number of references.

    Attributes:
        alone: the model.
        blended: the model blended with others' taste; None where nobody lends.
    """

    alone: ByCount
    blended: ByCount | None = None


@dataclass(frozen=True, eq=False)
class Possible:
    """What a synthetic world allows for the same pairs, by number of references and user.

    Attributes:
        best: of the same references, to who knows the communities.
        average: to who knows the communities' mean taste alone.
    """

    best: Mapping[int, ByUser]
    average: Mapping[int, ByUser]


@dataclass(frozen=True)
class FourWays:
    """A second checkpoint against a first one.

    Attributes:
        alone: the models; the mean is over all numbers of references.
        blended: their blends, where somebody lends; the mean is over the numbers that decide.
        best_possible: by number of references, where the world's truth is known.
        closed: share of the gap from the average taste to the best possible that each way closes,
            by its name and number of references, where there certainly is a gap.
    """

    alone: Comparison
    blended: Comparison | None = None
    best_possible: Mapping[int, Figure] = field(default_factory=dict)
    closed: Mapping[str, Mapping[int, Figure]] = field(default_factory=dict)

    @property
    def decided_by(self) -> str:
        """Whose gain counts: "blend" or "model"."""
        return "model" if self.blended is None else "blend"

    @property
    def gain(self) -> Figure:
        """What counts: the mean gain of the blend, or of the model where nobody lends."""
        return (self.blended or self.alone).mean

    @property
    def is_better(self) -> bool:
        """Whether that gain is above zero with its interval."""
        return self.gain.low > 0

    def to_json(self) -> dict[str, Any]:
        """All figures, and which of them decides."""
        decided = {"decided_by": self.decided_by, "gain": plain(self.gain)}
        return {**decided, "is_better": self.is_better, **plain(self)}

    def grids(self, *, before: str = "before", after: str = "after") -> list[Grid]:
        """The figures of all ways and, of a world, how much of what is possible they reach.

        Args:
            before, after: names of the two in headings.
        """
        names = _names(before, after)
        heads = ["references", before, after, "gained, points (95 % interval)"]
        if self.blended is not None:
            heads += [names["blend_first"], names["blend_second"], "gained in the blend"]
        if self.best_possible:
            heads.append("best possible")
        grids = [Grid(heads, [self._row(count) for count in self.alone.by_references])]
        if self.closed:
            caption = "Share of the gap from the average taste to the best possible."
            ways = [name for name in names if name in self.closed]
            counts = list(next(iter(self.closed.values())))
            rows: list[list[Cell]] = [
                [self._label(n), *(with_interval(self.closed[way][n]) for way in ways)]
                for n in counts
            ]
            grids.append(Grid(["references", *(names[way] for way in ways)], rows, caption))
        return grids

    def verdict(self) -> list[str]:
        """The mean gains, a sentence each, and which of them decides."""
        decides = ": this decides"
        sentences = [_gained("gained", self.alone, "" if self.blended else decides)]
        if self.blended is not None:
            sentences.append(_gained("gained in the blend", self.blended, decides))
        return sentences

    def _row(self, count: int) -> list[Cell]:
        row: list[Cell] = [self._label(count)]
        for each in (self.alone, self.blended):
            if each is not None:
                gain = each.by_references[count]
                row += [percent(gain.before.value), percent(gain.after.value)]
                row.append(with_interval(gain.gained, points))
        if self.best_possible:
            row.append(percent(self.best_possible[count].value))
        return row

    def _label(self, count: int) -> str:
        """A number of references, and how many people have it where not all do."""
        people = {each: gain.gained.n_users for each, gain in self.alone.by_references.items()}
        some = people[count] < max(people.values())
        return f"{count} ({counted(people[count], 'person', 'people')})" if some else str(count)


def answer(
    scorer: PreferenceScorer,
    features: Features,
    samples: Samples,
    cold_start: ColdStart | None,
    *,
    progress: Callable[[int], None] = lambda count: None,
) -> WayAnswers:
    """Ask a checkpoint about each person's pairs behind 0, 1, 2... of the newest references.

    Args:
        scorer: in evaluation.
        features: image tokens of the rows that the samples show.
        samples: of at least one person, behind all references.
        cold_start: learned for the scorer from others; None where nobody lends.
        progress: called with each number of references before it is asked.
    """
    if cold_start is None:
        return WayAnswers(answers_by_references(scorer, features, samples, progress=progress))
    alone, blended = dict[int, Margins](), dict[int, Margins]()
    for count in counts_of(samples):
        progress(count)
        fewer = behind(samples, count)
        ways = score_in_each_way(scorer, cold_start, features, fewer)
        alone[count], blended[count] = ways.alone, ways.blend
    return WayAnswers(alone, blended)


def borrowed(
    scorer: PreferenceScorer,
    lent: Mapping[str, tuple[Pair, ...]],
    features: Features,
    *,
    may_judge: Sequence[bool] | None,
) -> ColdStart:
    """Fit to others what `recsys coldstart fit` fits to everybody.

    Args:
        scorer: frozen.
        lent: the pairs of each of the others.
        features: image tokens of their rows.
        may_judge: of each of them, whether they may decide the blend, as `fit_cold_start` has it.
    """
    return fit_cold_start(scorer, tuple(lent.values()), features, may_judge=may_judge)[0]


def possible(samples: Samples, table: PairTable, truth: WorldTruth | None) -> Possible | None:
    """What the world allows behind each number of references; None where it is not this world.

    Args:
        samples: as in `answer`.
        table: what their rows stand for.
        truth: of a world, if there is one.
    """
    if truth is None or not of_this_world(samples, table, truth):
        return None
    best, average = dict[int, ByUser](), dict[int, ByUser]()
    for count in counts_of(samples):
        rights = world_accuracies(behind(samples, count), table, truth)
        best[count], average[count] = rights["best_possible"], rights["average_taste"]
    return Possible(best, average)


def compare_in_each_way(first: WayAnswers, second: WayAnswers, world: Possible | None) -> FourWays:
    """Pair the answers of two checkpoints by person.

    Args:
        first, second: to the same questions.
        world: what is possible, where that is known.
    """
    alone = compare(first.alone, second.alone)
    if first.blended is None or second.blended is None:
        blended, ways = None, {"first": first.alone, "second": second.alone}
    else:
        blended = compare(first.blended, second.blended, over=_decisive(list(first.alone)))
        ways = {
            "first": first.alone,
            "second": second.alone,
            "blend_first": first.blended,
            "blend_second": second.blended,
        }
    if world is None:
        return FourWays(alone, blended)
    best = {
        count: over_users(list(each.values()), n_pairs=alone.by_references[count].gained.n_pairs)
        for count, each in world.best.items()
    }
    closed = {name: _closed(answers, world) for name, answers in ways.items()}
    return FourWays(alone, blended, best, closed if next(iter(closed.values())) else {})


def _closed(answers: ByCount, world: Possible) -> dict[int, Figure]:
    shares = {}
    for count, margins in answers.items():
        best, average = world.best[count], world.average[count]
        gaps = [best[user] - average[user] for user in margins]
        if over_users(gaps, n_pairs=0).low > 0:
            own = [accuracy(each) for each in margins.values()]
            columns = [[each[user] for user in margins] for each in (average, best)]
            shares[count] = gap_closed(own, *columns)
    return shares


def _decisive(counts: list[int]) -> list[int]:
    return [count for count in counts if count >= DECISIVE_COUNT] or counts[-1:]


def _names(before: str, after: str) -> dict[str, str]:
    blends = {"blend_first": f"blend, {before}", "blend_second": f"blend, {after}"}
    return {"first": before, "second": after, **blends}


def _gained(what: str, comparison: Comparison, decides: str) -> str:
    gain = with_interval(comparison.mean, points)
    counts = [*map(str, comparison.over)]
    told = " and ".join([", ".join(counts[:-1]), counts[-1]] if counts[1:] else counts)
    return f"{what}, mean over {told} references: {gain} points{decides}"
