"""Plots of a report as SVG: the only door to matplotlib.

Colours are Okabe and Ito's, told apart by the colour-blind; each series has its own marker too.
"""

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import matplotlib as mpl
import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure as Canvas
from matplotlib.ticker import PercentFormatter

from training.evaluation.calibration import Bin
from training.evaluation.metrics import Figure

BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#666666"
WIDTH_IN = 7.0

STYLE: Any = {
    "svg.hashsalt": "recsys",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 9.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def accuracy_plot(rows: Sequence[tuple[str, Figure]], *, chance: float = 0.5) -> str:
    """A dot with its interval for each row, the first on top; the first is ours.

    Args:
        rows: name and figure, at least one.
        chance: drawn as a dotted line.
    """
    canvas, axes = _canvas(0.32 * len(rows) + 0.9)
    colours = [BLUE, *[GREY] * (len(rows) - 1)]
    _dots(axes, rows, colours, [f"{figure.value:.1%}" for _, figure in rows])
    axes.axvline(chance, color=GREY, linestyle=":", linewidth=1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("pairs ranked correctly")
    return _svg(canvas)


def difference_plot(rows: Sequence[tuple[str, Figure]]) -> str:
    """A difference with its interval for each row; what crosses the dotted line may be nothing.

    Args:
        rows: name and figure, a difference of two shares, at least one.
    """
    canvas, axes = _canvas(0.32 * len(rows) + 0.9)
    labels = [f"{100 * figure.value:+.1f}" for _, figure in rows]
    _dots(axes, rows, [ORANGE] * len(rows), labels)
    axes.axvline(0.0, color=GREY, linestyle=":", linewidth=1)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0, decimals=1, symbol=""))
    axes.set_xlabel("percentage points")
    return _svg(canvas)


def signature_plot(rows: Sequence[tuple[str, Figure]]) -> str:
    """How near in taste the nearest neighbours are, a dot with its interval for each signature.

    Args:
        rows: name and figure, at least one; the first is ours.
    """
    canvas, axes = _canvas(0.32 * len(rows) + 0.9)
    colours = [BLUE, *[GREY] * (len(rows) - 1)]
    _dots(axes, rows, colours, [f"{figure.value:.2f}" for _, figure in rows])
    axes.axvline(0.0, color=GREY, linestyle=":", linewidth=1)
    axes.set_xlabel("taste shared with the 10 nearest")
    return _svg(canvas)


def reference_plot(ours: Mapping[str, Figure], best: Mapping[str, Figure] | None = None) -> str:
    """Accuracy by number of references, with a band for its interval (paper, Fig. 5).

    Args:
        ours: figure by number of references.
        best: the best possible, where a world tells it.
    """
    canvas, axes = _canvas(3.0)
    _curve(axes, ours, BLUE, "o", "ours")
    if best:
        _curve(axes, best, GREEN, "s", "best possible")
        axes.legend(frameon=False)
    axes.axhline(0.5, color=GREY, linestyle=":", linewidth=1)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("reference pairs read")
    axes.set_ylabel("pairs ranked correctly")
    return _svg(canvas)


def reliability_plot(bins: Sequence[Bin], scaled: Sequence[Bin] = ()) -> str:
    """Share liked by score; on the diagonal Q means what it says.

    Args:
        bins: score, liked and count of each bin.
        scaled: the same at the fitted temperature.
    """
    canvas, axes = _canvas(3.4)
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", linewidth=1)
    for each, colour, marker, label in (
        (bins, ORANGE, "o", "Q as in Eq. 2"),
        (scaled, BLUE, "s", "at the fitted temperature"),
    ):
        if each:
            scores = [b.score for b in each]
            shares = [b.liked for b in each]
            sizes = 6 + 60 * np.sqrt([b.count / max(c.count for c in each) for b in each])
            axes.plot(scores, shares, color=colour, linewidth=1)
            axes.scatter(scores, shares, sizes, color=colour, marker=marker, label=label)
    axes.legend(frameon=False, loc="lower right")  # the curve runs near the diagonal
    axes.set_aspect("equal")
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
    axes.set_xlabel("score Q")
    axes.set_ylabel("share liked")
    return _svg(canvas)


@dataclass(frozen=True, eq=False)
class MapRow:
    """A person's maps, as they stand in a picture.

    Attributes:
        name: whose.
        group: whom the person stands with: people of one group come one after the other.
        maps: by panel, shape (orders, columns) each.
    """

    name: str
    group: str
    maps: Mapping[str, Float[np.ndarray, "O _"]]


def attention_plot(people: Sequence[MapRow], heads: Mapping[str, Sequence[str]]) -> str:
    """People down, group by group, preference tokens across (paper, Fig. 3).

    One colour scale, 0 in its middle, for all people and panels; NaN stays blank.

    Args:
        people: at least one; all with the same panels and as many orders.
        heads: of each panel the names of its heads, whose tokens stand side by side; at least one.
    """
    num_orders = len(people[0].maps[next(iter(heads))])
    panels = {name: np.concatenate([each.maps[name] for each in people]) for name in heads}
    widths = [max(rows.shape[1], 12) for rows in panels.values()]
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH_IN, 0.34 * len(people) + 1.6), layout="constrained")
        grid = canvas.subplots(1, len(panels), squeeze=False, width_ratios=widths)[0]
        for axes, (name, rows) in zip(grid, panels.items(), strict=True):
            image = axes.imshow(rows, cmap="RdBu_r", vmin=-2, vmax=2, aspect="auto")
            axes.set_title(name, fontsize=9)
            _name_heads(axes, heads[name], rows.shape[1] // len(heads[name]))
            _name_people(axes, people, num_orders)
        for axes in grid[1:]:
            axes.set_yticks([])
        _name_groups(grid[-1], people, num_orders)
        scale = canvas.colorbar(image, ax=list(grid), aspect=40, pad=0.02, ticks=[-2, 0, 2])
        scale.set_label("less ← attention → more")
    return _svg(canvas)


def _canvas(height_in: float) -> tuple[Canvas, Axes]:
    with mpl.rc_context(STYLE):
        canvas = Canvas(figsize=(WIDTH_IN, height_in), layout="constrained")
        return canvas, canvas.add_subplot()


def _name_heads(axes: Axes, heads: Sequence[str], num_tokens: int) -> None:
    """Each head's name below its tokens, and a line between two heads."""
    for number in range(1, len(heads)):
        axes.axvline(number * num_tokens - 0.5, color=GREY, linewidth=0.8)
    middles = [(number + 0.5) * num_tokens - 0.5 for number in range(len(heads))]
    axes.set_xticks(middles, list(heads), rotation=90 if len(heads) > 6 else 0)
    axes.tick_params(axis="both", length=0)
    axes.set_xlabel(f"tokens 1 to {num_tokens}{' of each' if len(heads) > 1 else ''}")


def _name_people(axes: Axes, people: Sequence[MapRow], num_orders: int) -> None:
    """Each person's name beside their rows, a white line between two, a wide one between groups."""
    for number, (one, other) in enumerate(pairwise(people), start=1):
        width = 1 if one.group == other.group else 6
        axes.axhline(number * num_orders - 0.5, color="white", linewidth=width)
    middles = [(number + 0.5) * num_orders - 0.5 for number in range(len(people))]
    axes.set_yticks(middles, [each.name for each in people])


def _name_groups(axes: Axes, people: Sequence[MapRow], num_orders: int) -> None:
    """Each group's name on the right, at the middle of its people."""
    places: dict[str, list[int]] = {}
    for number, each in enumerate(people):
        places.setdefault(each.group, []).append(number)
    middles = [(np.mean(numbers) + 0.5) * num_orders - 0.5 for numbers in places.values()]
    right = axes.secondary_yaxis("right")
    right.set_yticks(middles, list(places), rotation=90, va="center")
    right.tick_params(length=0, pad=6)
    right.spines["right"].set_visible(False)


def _dots(
    axes: Axes, rows: Sequence[tuple[str, Figure]], colours: Sequence[str], labels: Sequence[str]
) -> None:
    places = [float(place) for place in reversed(range(len(rows)))]
    for place, (_, figure), colour, text in zip(places, rows, colours, labels, strict=True):
        _interval(axes, figure, place, colour)
        axes.annotate(text, (1.0, place), xycoords=("axes fraction", "data"), va="center")
    axes.set_yticks(places, [name for name, _ in rows])
    axes.set_ylim(-0.6, len(rows) - 0.4)


def _interval(axes: Axes, figure: Figure, place: float, colour: str) -> None:
    axes.plot([figure.low, figure.high], [place, place], color=colour, linewidth=2)
    axes.plot(figure.value, place, marker="o", color=colour)


def _curve(axes: Axes, figures: Mapping[str, Figure], colour: str, marker: str, label: str) -> None:
    counts = [int(count) for count in figures]
    values = list(figures.values())
    axes.plot(counts, [f.value for f in values], color=colour, marker=marker, label=label)
    axes.fill_between(
        counts, [f.low for f in values], [f.high for f in values], color=colour, alpha=0.15
    )


def _svg(canvas: Canvas) -> str:
    """SVG without declaration and date, to stand inside a page."""
    file = io.StringIO()
    with mpl.rc_context(STYLE):
        canvas.savefig(
            file, format="svg", metadata={"Date": None, "Creator": None}, transparent=True
        )
    text = file.getvalue()
    return text[text.index("<svg") :]
