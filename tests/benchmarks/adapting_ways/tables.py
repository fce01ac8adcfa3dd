"""The figures of all ways beside each other, paired by person, and their tables in Markdown."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from jaxtyping import Float

from tests.benchmarks.adaptation import Bootstrap, Rights
from tests.benchmarks.adapting_ways.measuring import Measured
from training.evaluation.four_ways import DECISIVE_COUNT
from training.evaluation.metrics import QUANTILES
from training.evaluation.section import NOTHING
from training.evaluation.section import markdown as table

Interval = tuple[float, float, float]
"""Value, low and high."""

Section = Mapping[str, Mapping[str, Interval]]
"""By row and column."""

ALONE = "Top-1, the model alone, %"
ALONE_GAIN = "Alone, less P_v adapted as `recsys adapt` does, points (95 % interval)"
BLENDED = "Top-1 in the blend, %"
BLENDED_GAIN = "In the blend, less the blend of the checkpoint, points (95 % interval)"
OVER_ADAPTED = "In the blend, less the blend of adapted P_v, points (95 % interval)"
CLOSED = "Share of the gap from the average taste to the best possible, in the blend, %"


def figures(measured: Sequence[Measured], bounds: Rights) -> dict[str, Section]:
    """All sections, by title.

    Args:
        measured: the checkpoint ("model"), adapted P_v ("adapted") and the other ways.
        bounds: what is possible.
    """
    columns = {each.way: each.alone for each in measured} | dict(bounds)
    blends = {each.way: f"{each.way}, blended" for each in measured}
    columns |= {blends[each.way]: each.blended for each in measured}
    people = Bootstrap(columns)
    ways, others = list(blends), [way for way in blends if way not in ("model", "adapted")]
    of, at = people.of, _columns(people.counts)

    def section(
        rows: Sequence[str], value: Callable[[str, Sequence[str]], Float[np.ndarray, " D"]]
    ) -> Section:
        return {row: {name: _interval(value(row, at[name])) for name in at} for row in rows}

    return {
        ALONE: section([*ways, "best"], lambda way, n: of(way, *n)),
        ALONE_GAIN: section(others, lambda way, n: of(way, *n) - of("adapted", *n)),
        BLENDED: section([*ways, "best"], lambda way, n: of(blends.get(way, way), *n)),
        BLENDED_GAIN: section(
            ways[1:], lambda way, n: of(blends[way], *n) - of(blends["model"], *n)
        ),
        OVER_ADAPTED: section(
            others, lambda way, n: of(blends[way], *n) - of(blends["adapted"], *n)
        ),
        CLOSED: {
            way: {n: _interval(people.closed(blends[way], n)) for n in people.counts if n != "0"}
            for way in ways
        },
    }


def markdown(found: Mapping[str, Section], measured: Sequence[Measured]) -> str:
    """What each way trains, and a table for each section."""
    heads = ["way", "what is trained", "numbers"]
    trained = table(heads, [[each.way, each.trains, f"{each.num_trained:,}"] for each in measured])
    tables = [f"{title}\n\n{_table(title, section)}" for title, section in found.items() if section]
    return "\n\n".join([trained, *tables])


def _columns(counts: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Each number of references by itself, and the mean over those that decide."""
    decisive = tuple(count for count in counts if int(count) >= DECISIVE_COUNT)
    alone = {count: (count,) for count in counts}
    return alone | ({f"mean of {' and '.join(decisive)}": decisive} if decisive else {})


def _interval(drawn: Float[np.ndarray, " D"]) -> Interval:
    """Of a value and its draws behind it; NaN where no draw has a value."""
    finite = drawn[1:][np.isfinite(drawn[1:])]
    low, high = np.quantile(finite, QUANTILES) if finite.size else (np.nan, np.nan)
    return float(drawn[0]), float(low), float(high)


def _table(title: str, section: Section) -> str:
    heads = list(next(iter(section.values())))
    is_plain, sign = title in (ALONE, BLENDED), "" if title == CLOSED else "+"

    def cell(interval: Interval) -> str:
        if not np.isfinite(interval[0]):
            return NOTHING
        value, low, high = (f"{100 * each:{'' if is_plain else sign}.1f}" for each in interval)
        return value if is_plain else f"{value} ({low} to {high})"

    rows = [[name, *(cell(row[head]) for head in heads)] for name, row in section.items()]
    return table(["references", *heads], rows)
