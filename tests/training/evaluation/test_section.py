"""Figures as people read them."""

from training.evaluation.metrics import Figure
from training.evaluation.section import (
    figure_grid,
    figure_row,
    interval,
    known,
    number,
    percent,
    points,
    with_interval,
)

HALF = Figure(0.5, 0.4, 0.6, n_users=7, n_pairs=56)
UNKNOWN = Figure(float("nan"), float("nan"), float("nan"), n_users=7, n_pairs=56)


def test_numbers_are_written_as_people_read_them() -> None:
    assert percent(0.6672) == "66.7 %"
    assert points(0.0312) == "+3.1"
    assert points(-0.0312) == "-3.1"
    assert points(-1e-9) == points(0.0) == "+0.0"
    assert number(1.906) == "1.91"
    assert interval(HALF) == "40.0 % to 60.0 %"
    assert with_interval(HALF, points) == "+50.0 (+40.0 to +60.0)"


def test_nothing_and_nan_are_a_dash() -> None:
    for value in (None, float("nan"), float("inf")):
        assert {percent(value), points(value), number(value)} == {"–"}
    assert with_interval(None) == "–"
    assert interval(UNKNOWN) == "– to –"


def test_rows_without_a_figure_are_left_out() -> None:
    grid = figure_grid("figure", [figure_row("here", HALF), figure_row("gone", None)])
    assert grid.rows == [("here", "50.0 %", "40.0 % to 60.0 %", 7, 56)]
    assert len(grid.heads) == 5


def test_plots_get_only_rows_that_are_finite() -> None:
    rows = [("here", HALF), ("gone", None), ("unknown", UNKNOWN)]
    assert known(rows) == [("here", HALF)]
