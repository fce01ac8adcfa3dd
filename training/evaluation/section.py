"""A part of the report as people read it: the same grids in the terminal and on the page."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from training.evaluation.metrics import Figure

Cell = str | int
NOTHING = "–"


@dataclass(frozen=True)
class Grid:
    """Rows of text and numbers under headings.

    Attributes:
        heads: of the columns; the first one names the rows.
        rows: as many cells each as there are headings.
        caption: what the rows are.
        is_prose: whether cells are text that wraps, not numbers.
    """

    heads: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    caption: str = ""
    is_prose: bool = False


@dataclass(frozen=True)
class Plot:
    """A picture, drawn when the page is rendered.

    Attributes:
        draw: returns SVG.
        caption: what is to be seen.
        image: data URL of an image that stands before it, if any.
    """

    draw: Callable[[], str]
    caption: str
    image: str | None = None


@dataclass(frozen=True)
class Section:
    """A heading and what stands below it: paragraphs, grids and plots in their order."""

    title: str
    parts: Sequence[str | Grid | Plot]


def markdown(heads: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """A table in Markdown: rows under headings, of which there are as many as a row has cells."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)


def percent(value: float | None) -> str:
    """0.667 -> "66.7 %"; a dash for nothing and for NaN."""
    return NOTHING if value is None or not math.isfinite(value) else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """0.031 -> "+3.1", in percentage points."""
    if value is None or not math.isfinite(value):
        return NOTHING
    return f"{round(100 * value, 1) or 0.0:+.1f}"  # no "-0.0"


def hundredths(value: float | None) -> str:
    """0.667 -> "66.7", where a caption says that all is in %; a dash for nothing and for NaN."""
    return percent(value).removesuffix(" %")


def number(value: float | None, digits: int = 2) -> str:
    """1.912 -> "1.91"; a dash for nothing and for NaN."""
    return NOTHING if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def interval(figure: Figure, shown: Callable[[float], str] = percent) -> str:
    """The 95 % interval of a figure, e.g. "45.0 % to 65.0 %"."""
    return f"{shown(figure.low)} to {shown(figure.high)}"


def with_interval(figure: Figure | None, shown: Callable[[float], str] = percent) -> str:
    """A figure and its interval in one cell, e.g. "+3.1 (-0.2 to +6.0)"."""
    return NOTHING if figure is None else f"{shown(figure.value)} ({interval(figure, shown)})"


def is_known(figure: Figure) -> bool:
    """Whether a figure and its interval are finite."""
    return all(map(math.isfinite, (figure.value, figure.low, figure.high)))


def figure_grid(first: str, rows: Iterable[Sequence[Cell] | None], *, caption: str = "") -> Grid:
    """Rows of `figure_row` under the usual headings; what is None is left out.

    Args:
        first: heading of the rows' names.
        rows: of `figure_row`.
        caption: what they are.
    """
    heads = (first, "value", "95 % interval", "users", "pairs")
    return Grid(heads, [row for row in rows if row is not None], caption)


def figure_row(
    name: str, figure: Figure | None, shown: Callable[[float], str] = percent
) -> Sequence[Cell] | None:
    """A figure with its interval and what is behind it; None for none."""
    if figure is None:
        return None
    return (name, shown(figure.value), interval(figure, shown), figure.n_users, figure.n_pairs)


def known(rows: Iterable[tuple[str, Figure | None]]) -> list[tuple[str, Figure]]:
    """Those rows that a plot can show: with a figure, all of it finite."""
    return [(name, figure) for name, figure in rows if figure is not None and is_known(figure)]
