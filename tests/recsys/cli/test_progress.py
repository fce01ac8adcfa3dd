"""Progress of long work: lines for a log, a bar for a person."""

import io
import sys

import pytest

from recsys.cli import progress as module
from recsys.cli.progress import pacing


def test_a_log_gets_a_line_now_and_then(monkeypatch, capsys) -> None:
    now = [100.0]
    monkeypatch.setattr(module.time, "monotonic", lambda: now[0])
    with pacing("Users", lambda: 10_000) as progress:
        for done in range(100, 5001, 100):
            now[0] += 1.0
            progress(done)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "2,000 of 10,000 users, 100.0 users/s, 1 min left",
        "4,000 of 10,000 users, 100.0 users/s, 1 min left",
    ]


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_person_sees_count_rate_and_time_left(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "120")
    with pacing("Users", lambda: 10) as progress:
        progress(4)
        progress(12)  # others came meanwhile
    assert "12/12" in screen.getvalue()
    assert "users/s" in screen.getvalue()
    assert "left" in screen.getvalue()
