"""`recsys settings`."""

import json

import pytest


def test_each_setting_has_a_line_with_its_origin(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATABASE_URL", "postgresql://u:hunter2@host/db")
    result = run("settings")
    assert result.exit_code == 0
    line = next(line for line in result.stdout.splitlines() if "database_url" in line)
    assert line.split() == [
        "database_url",
        "postgresql://u:***@host/db",
        "environment",
        "RECSYS_DATABASE_URL",
    ]
    assert "hunter2" not in result.output
    assert "\x1b" not in result.output


def test_json_has_the_same(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_DATABASE_URL", "postgresql://u:hunter2@host/db")
    shown = json.loads(run("settings", "--json").stdout)
    assert shown["database_url"]["value"] == "postgresql://u:***@host/db"
    assert shown["checkpoint"] == {"value": "tiny", "origin": "default"}


def test_a_variable_that_sets_nothing_is_told(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_ADRESS", "x")
    result = run("settings", "--json")
    assert "RECSYS_ADRESS is ignored" in result.stderr
    json.loads(result.stdout)


def test_a_refused_setting_is_a_sentence(run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECSYS_MAX_QUEUE", "many")
    result = run("settings")
    assert result.exit_code == 2
    assert "max_queue (environment RECSYS_MAX_QUEUE) is invalid" in result.stderr
