"""Plots by their SVG: they parse, say what was measured, and fetch nothing."""

import re
from xml.etree import ElementTree

import numpy as np
import pytest

from training.evaluation import plots
from training.evaluation.calibration import Bin
from training.evaluation.metrics import Figure
from training.evaluation.plots import (
    MapRow,
    accuracy_plot,
    attention_plot,
    difference_plot,
    reference_plot,
    reliability_plot,
    signature_plot,
)
from training.evaluation.tables.signatures import NAMES

SVG = "{http://www.w3.org/2000/svg}"
HREF = "{http://www.w3.org/1999/xlink}href"


def figure(value: float) -> Figure:
    return Figure(value, value - 0.1, value + 0.1, n_users=7, n_pairs=56)


def texts(svg: str) -> list[str]:
    return [
        "".join(each.itertext()).strip() for each in ElementTree.fromstring(svg).iter(f"{SVG}text")
    ]


MAPS = np.array([[0.1, 0.9, -0.5, -0.1], [0.2, 0.8, -0.4, 0.0]])
HEADS = {"log-ratios": ["layer 3, head 1", "layer 3, head 2"], "Eq. <6>": ["all"]}


def people(maps: np.ndarray = MAPS) -> list[MapRow]:
    named = [("ann", "community 1"), ("<bob>", "community 1"), ("eve", "community 7")]
    return [MapRow(*each, {"log-ratios": maps, "Eq. <6>": -maps[:, :2]}) for each in named]


PLOTS = {
    "accuracy": lambda: accuracy_plot([("ours & theirs", figure(0.7)), ("<other>", figure(0.5))]),
    "difference": lambda: difference_plot(
        [("no <tokens>", figure(-0.02)), ("x & y", figure(0.01))]
    ),
    "signatures": lambda: signature_plot([("shipped", figure(0.45)), ("<raw>", figure(-0.01))]),
    "references": lambda: reference_plot({"0": figure(0.5), "8": figure(0.7)}),
    "bounded": lambda: reference_plot({"0": figure(0.5)}, {"0": figure(0.6)}),
    "reliability": lambda: reliability_plot([Bin(0.5, 0.4, 3)]),
    "attention": lambda: attention_plot(people(), HEADS),
}


@pytest.mark.parametrize("name", PLOTS)
def test_a_plot_stands_inside_a_page(name: str) -> None:
    svg = PLOTS[name]()
    root = ElementTree.fromstring(svg)
    assert svg.startswith("<svg")
    assert root.tag == f"{SVG}svg"
    assert all(
        each.get(key, "#").startswith(("#", "data:"))
        for each in root.iter()
        for key in (HREF, "href")
    )
    assert all(place.startswith("#") for place in re.findall(r"url\((.*?)\)", svg))


@pytest.mark.parametrize("name", PLOTS)
def test_the_same_figures_give_the_same_plot(name: str) -> None:
    assert PLOTS[name]() == PLOTS[name]()


@pytest.mark.parametrize("name", PLOTS)
def test_no_date_is_in_a_plot(name: str) -> None:
    assert not re.search(r"\d{4}-\d\d-\d\d", PLOTS[name]())


def test_accuracy_is_told_in_percent_and_names_as_they_are() -> None:
    labels = texts(PLOTS["accuracy"]())
    assert {"70.0%", "50.0%", "ours & theirs", "<other>", "pairs ranked correctly"} <= set(labels)


def test_differences_are_told_in_points_with_their_sign() -> None:
    labels = texts(PLOTS["difference"]())
    assert {"-2.0", "+1.0", "no <tokens>", "percentage points"} <= set(labels)
    assert not [each for each in labels if "%" in each]


def test_signatures_are_told_as_they_are() -> None:
    assert {"0.45", "-0.01", "shipped", "<raw>"} <= set(texts(PLOTS["signatures"]()))


def test_the_best_possible_is_named_where_it_is_known() -> None:
    assert "best possible" in texts(PLOTS["bounded"]())
    assert "best possible" not in texts(PLOTS["references"]())


def test_both_temperatures_are_named() -> None:
    bins = [Bin(0.5, 0.4, 3)]
    assert "at the fitted temperature" not in texts(reliability_plot(bins))
    assert {"Q as in Eq. 2", "at the fitted temperature"} <= set(
        texts(reliability_plot(bins, bins))
    )


def test_attention_that_is_unknown_is_left_blank() -> None:
    holed = attention_plot(people(np.where(MAPS == 0.9, np.nan, MAPS)), HEADS)
    assert ElementTree.fromstring(holed).tag == f"{SVG}svg"
    assert holed != PLOTS["attention"]()


def test_people_groups_and_heads_of_attention_are_named_once() -> None:
    labels = texts(PLOTS["attention"]())
    named = ["ann", "<bob>", "eve", "community 1", "community 7", *HEADS, *HEADS["log-ratios"]]
    assert [labels.count(each) for each in named] == [1] * len(named)
    assert {"less ← attention → more", "tokens 1 to 2 of each", "tokens 1 to 2"} <= set(labels)


def test_one_scale_of_attention_has_its_middle_at_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(plots, "_svg", lambda canvas: drawn.append(canvas) or "")
    attention_plot(people(), HEADS)
    *panels, _ = drawn[0].axes
    images = [image for axes in panels for image in axes.images]
    assert [image.get_clim() for image in images] == [(-2, 2)] * 2
    assert [image.get_array().shape for image in images] == [(6, 4), (6, 2)]


def test_no_word_of_the_signature_plot_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = []
    monkeypatch.setattr(plots, "_svg", lambda canvas: drawn.append(canvas) or "")
    longest = sorted(NAMES.values(), key=len)[-1]
    signature_plot([(f"shipped: {NAMES['both']}", figure(0.45)), (longest, figure(0.0))])
    (canvas,) = drawn
    canvas.draw_without_rendering()
    (axes,) = canvas.axes
    for text in (axes.xaxis.label, *axes.get_yticklabels(), *axes.texts):
        shown = text.get_window_extent()
        assert canvas.bbox.x0 <= shown.x0, text
        assert shown.x1 <= canvas.bbox.x1, text
