"""The report's files from results made by hand: whole, escaped, and without what is not there."""

import json
import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from itertools import cycle
from pathlib import Path
from typing import Any

import pytest

from training.evaluation import report
from training.evaluation.answers import AsPaper, Compared
from training.evaluation.calibration import Bin, Calibration
from training.evaluation.map_likeness import Likeness
from training.evaluation.metrics import Figure
from training.evaluation.report import render, with_own_ids, write_report
from training.evaluation.results import Results, as_json
from training.evaluation.signature_figures import (
    Agreement,
    Joined,
    NotMeasured,
    Rival,
    Signatures,
)
from training.evaluation.tables.ablations import Variant
from training.evaluation.tables.attention import Attention, ShownPerson
from training.evaluation.tables.baselines import Baselines, Missing
from training.evaluation.tables.bounds import Bounds
from training.evaluation.tables.by_references import ByReferences
from training.evaluation.tables.cold_start import ColdStartFigures, Ways
from training.evaluation.tables.controls import Controls
from training.evaluation.tables.first_questions import Answers, Bits, FirstQuestionFigures
from training.evaluation.tables.main_figures import MainFigures
from training.evaluation.tables.one_of_four import OneOfFourFigures, OneOfFourResult
from training.evaluation.tables.order import ReferenceOrder
from training.evaluation.tables.registry import TABLES
from training.evaluation.tables.seen import Seen


def figure(value: float) -> Figure:
    return Figure(value, value - 0.1, value + 0.1, n_users=7, n_pairs=56)


def results(**by_table: object) -> Results:
    return Results(
        checkpoint="final",
        model_version="abc123",
        data_digest="def456",
        created_at="2026-11-23T12:00:00+00:00",
        seed=0,
        num_references=8,
        device="cuda:0",
        dtype="bfloat16",
        by_table=by_table,
    )


MAIN = MainFigures(figure(0.7), figure(0.65))
SIGNATURES = Signatures(
    num_users=7,
    num_references=8,
    num_whole=24,
    served="both",
    num_probes=32,
    num_orders=2,
    dimension=16,
    chance_mrr=0.0123,
    stability=figure(0.987),
    drift={"2": figure(0.6), "16": figure(0.95)},
    rivals={
        "shipped": Rival(taste=figure(0.456), of_ceiling=figure(0.9), mrr=figure(0.3)),
        "last_hidden": Rival(taste=figure(0.1), of_ceiling=figure(0.2), mrr=figure(0.1)),
        "shipped_whole": Rival(taste=figure(0.6)),
    },
    shipped_minus=Rival(taste=figure(0.078), mrr=figure(0.02)),
    minus_scores={"both": Rival(taste=figure(0.1))},
    joined=Joined(
        0.7,
        num_lenders=20,
        num_classes=3,
        num_choosers=10,
        dimension=61,
        minus_shipped=Rival(taste=figure(0.03), mrr=figure(0.01)),
    ),
    communities=Agreement(12, shipped=0.21, shipped_whole=0.32, true_taste=0.93),
)
COLD_START = ColdStartFigures(
    num_lenders=20,
    num_lent_pairs=948,
    num_classes=3,
    by_references={
        "0": Ways(figure(0.55), figure(0.62), figure(0.63), figure(0.08)),
        "2": Ways(
            figure(0.6), figure(0.64), figure(0.65), figure(0.05), figure(0.66), figure(0.83)
        ),
    },
    blends=((0.5, 1.0, -0.5), (0.0, 1.0, 0.0)),
)
FIRST_QUESTIONS = FirstQuestionFigures(
    num_images=200,
    num_candidates=300,
    unasked=figure(0.5),
    by_answers={"1": Answers(figure(0.633), figure(0.626), figure(0.007))},
    expected_bits={"1": Bits(0.75, 0.25)},
)
AS_PAPER = AsPaper(
    top1=figure(0.66),
    seen=figure(0.68),
    unseen=figure(0.65),
    of_four={f"top{n}": figure(share) for n, share in ((1, 0.41), (2, 0.61), (3, 0.81))},
    by_references={"0": figure(0.54), "8": figure(0.66)},
)
LIKENESS = Likeness(
    *map(figure, (0.18, -0.02, 0.2, 0.01)), other_orders=figure(0.99), other_choices=figure(0.24)
)
ATTENTION = Attention(
    communities="the world's communities",
    num_communities=2,
    num_people=7,
    num_references=8,
    num_targets=3,
    num_orders=2,
    heads=((2, 0), (2, 1)),
    likeness={
        reading: {"of_choices": {"all": LIKENESS}, "as_it_is": {"all": LIKENESS}}
        for reading in ("log_ratio", "printed")
    },
    image="data:image/png;base64,QUJD",
    people=tuple(
        ShownPerson(
            user,
            community,
            user == "bob",
            {"log_ratio": ((0.5, -0.5, 1.0, 0.0),) * 2, "printed": ((-1.0, 1.0),) * 2},
        )
        for community, user in enumerate(("<script>x</script>", "bob"))
    ),
)
ORDERED = Compared(figure(0.69), figure(0.01))
WHOLE = replace(
    results(
        unseen=MAIN,
        as_paper=AS_PAPER,
        controls=Controls(*map(figure, (0.51, 0.19, 0.34, 0.36, 0.67, 0.69))),
        of_four=OneOfFourResult(OneOfFourFigures(figure(0.4), figure(0.6), figure(0.8))),
        seen=Seen(figure(0.71), figure(0.01)),
        bounds=Bounds(*map(figure, (0.85, 0.73, 0.68, 0.57, 0.78))),
        by_references=ByReferences(
            {"0": figure(0.55), "8": figure(0.7)}, {"0": figure(0.56), "8": figure(0.71)}
        ),
        baselines=Baselines(
            {"user_knn": Compared(figure(0.5), figure(0.2), figure(0.5), AS_PAPER)},
            (Missing("pick_score", "no folder & no luck"),),
            figure(0.65),
        ),
        ablations=(Variant("no tokens", figure(0.69), figure(-0.01)),),
        order=ReferenceOrder(figure(0.01), figure(0.0), 5, ORDERED, ORDERED),
        calibration=Calibration(
            ece=0.1,
            ece_scaled=0.04,
            temperature=1.9,
            bins=(Bin(0.2, 0.3, 9), Bin(0.8, 0.7, 4)),
            bins_scaled=(Bin(0.3, 0.3, 13),),
        ),
        attention=ATTENTION,
        signatures=SIGNATURES,
        cold_start=COLD_START,
        first_questions=FIRST_QUESTIONS,
    ),
    notes=("A <note>.",),
)
LAYOUT = json.loads(Path(__file__).with_name("report_layout.json").read_text())
"""Of report.json, which others read: a key that moves is a break."""


def test_the_layout_of_the_json_stays() -> None:
    assert as_json(WHOLE) == LAYOUT


def test_what_is_not_there_is_null_or_left_out_as_it_was() -> None:
    bare = as_json(results())
    assert bare["unseen"] == {}
    assert (bare["signatures"], bare["cold_start"]) == (None, None)
    assert as_json(results(cold_start=COLD_START))["cold_start"]["onboarding"] is None
    assert list(as_json(results(first_questions=FIRST_QUESTIONS))["cold_start"]) == ["onboarding"]
    assert as_json(results(signatures=NotMeasured("why not")))["signatures"] == {"why": "why not"}
    assert not {"seen", "seen_minus_unseen", "world", "by_references"} & set(bare)
    assert not {"order", "calibration", "attention"} & set(bare)
    assert (bare["baselines"], bare["ablations"], bare["missing"]) == ({}, [], [])


def test_every_table_is_on_the_page() -> None:
    page = render(WHOLE)
    for text in (
        "70.0 %",
        "bfloat16 on cuda:0",
        "seen less unseen",
        "user knn",
        "best possible from the same references",
        "no tokens",
        "pick score",
        "deviation of Q",
        "temperature 1.90",
        "among the first 1",
        "41.0 (31.0 to 51.0)",
        "behind so many references (Fig. 6)",
        "0.456",
        "last hidden state of the references",
        "0.012 by chance",
        "It costs 61 numbers a user beside the 16 of the signature",
        "0.32 (shipped, of what the service reads)",
        "948 pairs of 20 other people",
        "65.0 (55.0 to 75.0)",
        "62.6 (52.6 to 72.6)",
        "0.18 within and -0.02 between communities, a difference of +0.200 (+0.100 to +0.300)",
    ):
        assert text in page, text
    assert page.count("<svg") == 7
    for section in WHOLE.sections():
        assert f"<h2>{section.title}</h2>" in page


def test_ids_are_unique_in_a_page_and_every_reference_resolves() -> None:
    page = render(WHOLE)
    ids = re.findall(r'\bid="([^"]*)"', page)
    assert len(ids) > 100
    assert len(ids) == len(set(ids))
    referred = re.findall(r'href="#([^"]*)"|url\(#([^)]*)\)', page)
    assert len(referred) > 20
    assert {one or other for one, other in referred} <= set(ids)


def test_ids_get_their_prefix_and_text_does_not() -> None:
    svg = '<svg id="a"><use xlink:href="#b" clip-path="url(#c)"/><text>width="1" #d</text></svg>'
    assert with_own_ids(svg, "p1-") == (
        '<svg id="p1-a"><use xlink:href="#p1-b" clip-path="url(#p1-c)"/>'
        '<text>width="1" #d</text></svg>'
    )


def test_every_figure_tells_its_users_and_pairs() -> None:
    odd = Figure(0.55, 0.45, 0.65, n_users=31, n_pairs=4711)
    page = render(results(by_references=ByReferences({"0": odd})))
    assert "45.0 % to 65.0 %" in page
    assert re.search(r">31</td>\s*<td[^>]*>4711<", page)
    odd = Figure(0.5, 0.4, 0.6, n_users=32, n_pairs=4712)
    page = render(results(baselines=Baselines({"linear": Compared(odd, figure(0.2))})))
    assert re.search(r">32</td><td[^>]*>4712<", page)


def test_the_results_by_hand_are_of_every_table() -> None:
    assert {each.name for each in TABLES} == set(WHOLE.by_table)


@pytest.mark.parametrize("name", list(WHOLE.by_table))
def test_a_table_needs_no_other(name: str) -> None:
    assert len(render(results(**{name: WHOLE.by_table[name]}))) > len(render(results()))


def test_tables_may_be_none() -> None:
    nothing = dict.fromkeys((each.name for each in TABLES), None)
    assert render(results(**nothing)) == render(results())


def replaced(value: Any, odd: Figure, turns: Iterator[bool]) -> Any:
    """The same results with `odd` for those figures whose turn it is."""
    if isinstance(value, Figure):
        return odd if next(turns) else value
    if is_dataclass(value):
        parts = {each.name: getattr(value, each.name) for each in fields(value)}
        return replace(value, **{k: replaced(each, odd, turns) for k, each in parts.items()})
    if isinstance(value, dict):
        return {key: replaced(each, odd, turns) for key, each in value.items()}
    if isinstance(value, tuple):
        return tuple(replaced(each, odd, turns) for each in value)
    return value


@pytest.mark.parametrize("turns", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("odd", [float("nan"), 0.5])
def test_figures_without_a_number_cost_no_page(turns: tuple[bool, bool], odd: float) -> None:
    nan = float("nan")
    page = render(replaced(WHOLE, Figure(odd, nan, nan, 7, 56), cycle(turns)))
    assert "pick score" in page
    assert "nan" not in page
    assert "– to –" in page


def test_numbers_that_are_unknown_are_dashes_and_blanks() -> None:
    calibration = replace(WHOLE.by_table["calibration"], temperature=float("nan"))
    attention = replace(
        ATTENTION,
        people=tuple(
            replace(each, maps={**each.maps, "printed": ((float("nan"), 0.5),) * 2})
            for each in ATTENTION.people
        ),
    )
    page = render(results(calibration=calibration, attention=attention))
    assert "temperature –" in page
    assert "nan" not in page


def test_the_picture_of_attention_tells_who_was_learned_from() -> None:
    page = render(results(attention=ATTENTION))
    assert "bob (seen)" in page
    assert "&lt;script&gt;x&lt;/script&gt; (unseen)" in page
    assert page.count("<svg") == 1


def test_what_is_not_there_is_left_out() -> None:
    page = render(results(unseen=MAIN))
    for text in ("Baselines", "Calibration", "What this world allows", "Ablations", "Signatures"):
        assert f"<h2>{text}" not in page
    assert "One liked against one disliked" in page


def test_why_signatures_were_not_measured_is_on_the_page() -> None:
    page = render(results(signatures=NotMeasured("no <part>")))
    assert "Not measured: no &lt;part&gt;." in page
    assert "neighbours" not in page


def test_nothing_is_fetched_and_everything_is_escaped() -> None:
    page = render(WHOLE)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "url(http" not in page
    assert "<script>" not in page
    assert "&lt;script&gt;x" in page
    assert "A &lt;note&gt;." in page


def test_numbers_that_are_not_finite_become_null_and_a_dash(tmp_path: Path) -> None:
    odd = Figure(float("nan"), float("inf"), 0.5, n_users=2, n_pairs=3)
    write_report(results(seen=Seen(odd)), tmp_path)
    held = json.loads((tmp_path / "report.json").read_text())
    assert held["seen"]["top1"]["value"] is None
    assert "–" in (tmp_path / "report.html").read_text()


def test_the_json_holds_what_was_measured(tmp_path: Path) -> None:
    write_report(WHOLE, tmp_path / "new" / "folder")
    held = json.loads((tmp_path / "new/folder/report.json").read_text())
    assert held == LAYOUT


def test_an_error_while_writing_leaves_the_last_report(tmp_path: Path, monkeypatch) -> None:
    write_report(results(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "render", broken)
    with pytest.raises(OSError, match="No space"):
        write_report(results(seen=Seen(figure(0.2))), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
