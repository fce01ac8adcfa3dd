"""The report's files from results made by hand: whole, escaped, and without what is not there."""

import json
import re
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest

from training.evaluation import report
from training.evaluation.report import interval, percent, points, render, write_report


def figure(value: float) -> dict[str, float]:
    return {"value": value, "low": value - 0.1, "high": value + 0.1, "n_users": 7, "n_pairs": 56}


def results(**more: object) -> dict[str, object]:
    return {
        "checkpoint": "final",
        "model_version": "abc123",
        "data_digest": "def456",
        "created_at": "2026-11-23T12:00:00+00:00",
        "seed": 0,
        "num_references": 8,
        "notes": [],
        "missing": [],
        "unseen": {"top1": figure(0.7), "opposed": figure(0.65), "of_four": {"top1": figure(0.4)}},
        **more,
    }


WHOLE = results(
    seen={"top1": figure(0.71)},
    seen_minus_unseen=figure(0.01),
    by_references={"0": figure(0.55), "8": figure(0.7)},
    world={
        **{n: figure(0.6) for n in ("known_taste", "best_possible", "average_taste", "gap_closed")},
        "by_references": {"0": figure(0.56), "8": figure(0.71)},
    },
    baselines={
        "user_knn": {"top1": figure(0.5), "opposed": figure(0.5), "ours_minus": figure(0.2)}
    },
    order={"spread": figure(0.01), "averaged_gain": figure(0.0), "num_orders": 5},
    calibration={
        "ece": 0.1,
        "ece_scaled": 0.04,
        "temperature": 1.9,
        "bins": [
            {"score": 0.2, "liked": 0.3, "count": 9},
            {"score": 0.8, "liked": 0.7, "count": 4},
        ],
        "bins_scaled": [{"score": 0.3, "liked": 0.3, "count": 13}],
    },
    ablations=[{"name": "no tokens", "top1": figure(0.69), "minus_full": figure(-0.01)}],
    nearest_words=[{"token": 0, "words": [["warm", 0.31], ["<b>", 0.5]]}],
    attention=[
        {
            "user": "<script>x</script>",
            "image": "data:image/png;base64,QUJD",
            "maps": [[0.5, 0.5]] * 5,
        }
    ],
    signatures={
        **{"num_users": 7, "num_references": 8, "num_whole": 24, "num_probes": 32},
        **{"num_orders": 2, "dimension": 16, "chance_mrr": 0.0123},
        "rivals": {
            "shipped": {"taste": figure(0.456), "of_ceiling": figure(0.9), "mrr": figure(0.3)},
            "last_hidden": {"taste": figure(0.1), "of_ceiling": figure(0.2), "mrr": figure(0.1)},
            "shipped_whole": {"taste": figure(0.6)},
        },
        "shipped_minus": {"taste": figure(0.078), "mrr": figure(0.02)},
        "stability": figure(0.987),
        "drift": {"2": figure(0.6), "16": figure(0.95)},
        "communities": {
            **{"num_clusters": 12, "shipped": 0.21, "shipped_whole": 0.32, "true_taste": 0.93}
        },
    },
    missing=[{"what": "pick_score", "why": "no folder & no luck"}],
    notes=["A <note>."],
)


def test_numbers_are_written_as_people_read_them() -> None:
    assert percent(0.6672) == "66.7 %"
    assert points(0.0312) == "+3.1"
    assert points(-0.0312) == "-3.1"
    assert percent(None) == "–"
    assert interval(figure(0.5)) == "40.0 % to 60.0 %"


def test_every_block_is_on_the_page() -> None:
    page = render(WHOLE)
    for text in (
        "70.0 %",
        "seen less unseen",
        "user knn",
        "best possible from the same references",
        "no tokens",
        "warm (0.31)",
        "pick score",
        "spread of Q",
        "temperature 1.90",
        "among the first 1",
        "0.456",
        "last hidden state of the references",
        "0.012 by chance",
        "0.32 (shipped, of the whole history)",
    ):
        assert text in page, text
    assert page.count("<svg") == 7


def test_every_figure_tells_its_users_and_pairs() -> None:
    page = render(results(by_references={"0": {**figure(0.55), "n_users": 31, "n_pairs": 4711}}))
    assert "45.0 % to 65.0 %" in page
    assert re.search(r">31</td>\s*<td[^>]*>4711<", page)
    block = {"top1": {**figure(0.5), "n_users": 32, "n_pairs": 4712}, "ours_minus": figure(0.2)}
    page = render(results(baselines={"linear": block}))
    assert re.search(r">32</td><td[^>]*>4712<", page)


@pytest.mark.parametrize("block", [name for name in report.BLOCKS if WHOLE.get(name)])
def test_a_block_needs_no_other(block: str) -> None:
    bare = {name: each for name, each in WHOLE.items() if name not in report.BLOCKS}
    assert len(render({**bare, block: WHOLE[block]})) > len(render(bare))


def test_blocks_may_be_none() -> None:
    bare = {name: each for name, each in WHOLE.items() if name not in report.BLOCKS}
    assert render({**bare, **dict.fromkeys(report.BLOCKS)}) == render(bare)


def replaced(value: object, odd: object, turns: Iterator[bool]) -> object:
    """The same results with `odd` for those figures whose turn it is."""
    if isinstance(value, dict) and "low" in value:
        return odd if next(turns) else value
    if isinstance(value, dict):
        return {key: replaced(each, odd, turns) for key, each in value.items()}
    if isinstance(value, list):
        return [replaced(each, odd, turns) for each in value]
    return value


@pytest.mark.parametrize("turns", [(True, False), (False, True), (True, True)])
@pytest.mark.parametrize("odd", [None, {**figure(0.5), "low": None, "high": None}])
def test_figures_that_were_not_had_cost_no_page(turns: tuple[bool, bool], odd: object) -> None:
    page = render(replaced(WHOLE, odd, cycle(turns)))
    assert "warm (0.31)" in page
    assert "nan" not in page
    assert ("– to –" in page) == (odd is not None)


def test_numbers_that_were_not_had_are_dashes_and_blanks() -> None:
    told = json.loads(json.dumps(WHOLE))
    told["calibration"]["temperature"] = None
    told["nearest_words"][0]["words"] = [["warm", None]]
    told["attention"][0]["maps"][0][0] = None
    page = render(told)
    assert "temperature –" in page
    assert "warm (–)" in page


def test_attention_of_all_users_stands_in_one_scale(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        report, "attention_plot", lambda maps, *, most: asked.append(most) or "<svg/>"
    )
    people = [
        {"user": name, "image": "data:image/png;base64,QUJD", "maps": [[share, 1 - share]]}
        for name, share in (("a", 0.5), ("b", 0.9))
    ]
    render(results(attention=people))
    assert asked == [0.9, 0.9]


def test_what_is_not_there_is_left_out() -> None:
    page = render(results())
    for text in ("Baselines", "Calibration", "What this world allows", "Ablations", "Not measured"):
        assert f"<h2>{text}" not in page
    assert "One liked against one disliked" in page


def test_why_signatures_were_not_measured_is_on_the_page() -> None:
    page = render(results(signatures={"why": "no <part>"}))
    assert "Not measured: no &lt;part&gt;." in page
    assert "nearest users" not in page


def test_nothing_is_fetched_and_everything_is_escaped() -> None:
    page = render(WHOLE)
    assert not re.findall(r"""(?:src|href)=["'](?!data:|#)""", page)
    assert "url(http" not in page
    assert "<script>" not in page
    assert "&lt;script&gt;x" in page
    assert "A &lt;note&gt;." in page


def test_numbers_that_are_none_become_null_and_a_dash(tmp_path: Path) -> None:
    odd = {"value": float("nan"), "low": float("inf"), "high": 0.5, "n_users": 2, "n_pairs": 3}
    write_report(results(seen={"top1": odd}), tmp_path)
    told = json.loads((tmp_path / "report.json").read_text())
    assert told["seen"]["top1"]["value"] is None
    assert "–" in (tmp_path / "report.html").read_text()


def test_the_json_holds_what_was_measured(tmp_path: Path) -> None:
    write_report(WHOLE, tmp_path / "new" / "folder")
    told = json.loads((tmp_path / "new/folder/report.json").read_text())
    assert told == json.loads(json.dumps(WHOLE))


def test_an_error_while_writing_leaves_the_last_report(tmp_path: Path, monkeypatch) -> None:
    write_report(results(), tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def broken(_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(report, "render", broken)
    with pytest.raises(OSError, match="No space"):
        write_report(results(seen={"top1": figure(0.2)}), tmp_path)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
