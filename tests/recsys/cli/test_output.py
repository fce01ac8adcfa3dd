"""Tables for people, JSON for programs; nothing that can steer a terminal."""

import json
import sys

import pytest

from recsys.cli.output import printable, show_json, show_table
from recsys.cli.progress import counting, waiting


def test_a_table_is_plain_and_whole_when_it_goes_to_a_program(capsys) -> None:
    name = "x" * 150
    show_table(["name", "score"], [(name, 0.5), ("[red]y[/red]", 12)])
    output = capsys.readouterr().out
    assert "\x1b" not in output
    assert name in output
    assert "0.5000" in output
    assert "[red]y[/red]" in output


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain ä 😀", "plain ä 😀"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("a\nb\0", "a\\nb\\x00"),
        ("\udcff", "\\udcff"),
        (0.123456, "0.1235"),
        (3, "3"),
    ],
)
def test_control_characters_are_shown_as_escapes(value: object, shown: str) -> None:
    assert printable(value) == shown


def test_json_can_be_written_in_any_locale(capsys) -> None:
    value = {"id": "ä 😀 \udcff"}
    show_json(value)
    output = capsys.readouterr().out
    assert output.isascii()
    assert json.loads(output) == value


def test_progress_is_silent_where_nobody_looks(capsys) -> None:
    def count_all() -> int:
        raise AssertionError("counted for nobody")

    with counting("rows", count_all) as count, waiting("Waiting"):
        count(3)
    assert capsys.readouterr() == ("", "")


def test_progress_is_shown_to_a_person_and_taken_away(capsys, monkeypatch) -> None:
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with counting("rows", lambda: 7) as count:
        count(3)
    with waiting("Waiting"):
        pass
    output, errors = capsys.readouterr()
    assert output == ""
    assert "rows" in errors
    assert "3/7" in errors
    assert "Waiting" in errors
