"""A judgement as files: report.json for programs, and report.html, a page that needs no network."""

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from storage.files import replace_file
from training.evaluation.plots import (
    accuracy_plot,
    attention_plot,
    difference_plot,
    reference_plot,
    reliability_plot,
    signature_plot,
)

Results = Mapping[str, Any]

NAMES = {
    "top1": "one liked against one disliked",
    "opposed": "opposed pairs: two users disagree",
    "shuffled_history": "behind another user's history",
    "personal": "own history less another's",
    "swapped_labels": "likes called dislikes",
    "no_prompt": "without prompts",
    "random_references": "references and pairs at random, as in the paper",
    "known_taste": "if each taste were known",
    "best_possible": "best possible from the same references",
    "average_taste": "the average taste",
    "gap_closed": "share of that gap closed",
    "spread": "spread of Q over re-orderings",
    "averaged_gain": "gain from averaging them",
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


BLOCKS = (
    *("unseen", "seen", "seen_minus_unseen", "world", "by_references", "baselines", "order"),
    *(
        "calibration",
        "ablations",
        "nearest_words",
        "attention",
        "signatures",
        "cold_start",
        "missing",
        "notes",
    ),
)
"""Parts of the page that results may lack."""

BOUNDS = ("known_taste", "best_possible", "average_taste")


def write_report(results: Results, folder: Path) -> None:
    """Write report.json and report.html, each whole or not at all.

    Numbers that are none become null in JSON, and a dash on the page.

    Args:
        results: of `training.evaluation.evaluate.evaluate`.
        folder: made if it is not there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    plain = _finite(results)
    page = render(plain)
    figures = json.dumps(plain, indent=2, allow_nan=False) + "\n"
    for name, text in (("report.json", figures), ("report.html", page)):
        with replace_file(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def render(results: Results) -> str:
    """The page; blocks that the results lack are left out."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "percent": percent,
        "interval": interval,
        "points": points,
        "number": number,
    }
    results = dict.fromkeys(BLOCKS) | dict(results)
    template = environment.get_template("report.html.j2")
    plots = {name: Markup(svg) for name, svg in _plots(results)}
    return template.render(r=results, names=NAMES, plots=plots, attention=_attention(results))


def percent(value: float | None) -> str:
    """0.667 -> "66.7 %"; a dash for nothing."""
    return "–" if value is None else f"{100 * value:.1f} %"


def points(value: float | None) -> str:
    """0.031 -> "+3.1", in percentage points."""
    return "–" if value is None else f"{100 * value:+.1f}"


def number(value: float | None, digits: int = 2) -> str:
    """1.912 -> "1.91"; a dash for nothing."""
    return "–" if value is None else f"{value:.{digits}f}"


def interval(figure: Mapping[str, Any]) -> str:
    """The 95 % interval of a figure."""
    return f"{percent(figure['low'])} to {percent(figure['high'])}"


def _attention(results: Results) -> list[dict[str, Any]]:
    """The blocks with a plot each, all in one scale of colours: users are to be compared."""
    blocks = results["attention"] or ()
    weights = [w for each in blocks for row in each["maps"] for w in row if w is not None]
    most = max(weights, default=None)
    return [{**each, "plot": Markup(attention_plot(each["maps"], most=most))} for each in blocks]


def _plots(results: Results) -> Iterator[tuple[str, str]]:
    unseen, world = results.get("unseen") or {}, results.get("world") or {}
    bounds = [(NAMES[name], world[name]) for name in BOUNDS if name in world]
    baselines = results.get("baselines") or {}
    for what, more in (("top1", bounds), ("opposed", [])):
        others = [(n.replace("_", " "), b[what]) for n, b in baselines.items() if what in b]
        rows = [("this checkpoint", unseen.get(what)), *more, *others]
        if known := _known(rows if unseen.get(what) else ()):
            yield what, accuracy_plot(known)
    if known := _known((a["name"], a.get("minus_full")) for a in results["ablations"] or ()):
        yield "ablations", difference_plot(known)
    if ours := _known((results["by_references"] or {}).items()):
        best = _known((world.get("by_references") or {}).items())
        yield "by_references", reference_plot(dict(ours), dict(best))
    if results.get("calibration"):
        block = results["calibration"]
        yield "reliability", reliability_plot(block["bins"], block.get("bins_scaled", ()))
    table = (results["signatures"] or {}).get("rivals") or {}
    if rows := _known((NAMES.get(n, n), row.get("taste")) for n, row in table.items()):
        yield "signatures", signature_plot(rows)


def _known(
    rows: Iterable[tuple[str, Mapping[str, Any] | None]],
) -> list[tuple[str, Mapping[str, Any]]]:
    """Rows whose figure is there, with no number missing."""
    return [(name, figure) for name, figure in rows if figure and None not in figure.values()]


def _finite(value: Any) -> Any:
    """The same values; what is no finite number becomes None."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_finite(each) for each in value]
    return value
