"""The whole road at toy size: people, runs, a kill in the middle, answers and the page."""

import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from training.claims.__main__ import main
from training.claims.answers import read_answers, write_answers
from training.claims.design import TOY

TIMEOUT_S = 300


def run(folder: Path, *arguments: str) -> Result:
    words = ["--toy", "--threads", "1", "--folder", str(folder), *arguments]
    return CliRunner().invoke(main, words)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder where a process was killed while it judged the first run."""
    folder = tmp_path_factory.mktemp("claims")
    command = [sys.executable, "-m", "training.claims", "--toy", "--threads", "1"]
    process = subprocess.Popen(
        [*command, "--folder", str(folder)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    first = folder / "answers" / "centre.1.json"
    give_up_at = time.monotonic() + TIMEOUT_S
    while not first.exists() and process.poll() is None and time.monotonic() < give_up_at:
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    return folder


@pytest.mark.slow
def test_what_was_killed_goes_on_and_ends_in_a_page(killed: Path) -> None:
    states = list((killed / "cells" / "centre.1").rglob("stage1.state.safetensors"))
    assert len(states) == 1
    trained_at = states[0].stat().st_mtime_ns
    listed = run(killed, "--list")
    assert "5 of 5 runs are left" in listed.output, listed.output

    done = run(killed)

    assert done.exit_code == 0, done.output
    assert states[0].stat().st_mtime_ns == trained_at  # it was judged, and not trained again
    text = (killed / "claims.md").read_text()
    assert "| runs | 5 of 5: 3 cells, 2 seeds |" in text
    for told in (
        "bases never saw preference tokens",
        "25 % are behind fewer than 2, and",
        "| centre | LoRA, P_v |",
        "| seen less unseen, centre |",
        "| 10 less none |",
        "| frozen |",
    ):
        assert told in " ".join(text.split())
    answers = [read_answers(path) for path in sorted((killed / "answers").glob("*.json"))]
    assert [(each.cell, each.seed) for each in answers] == [
        *((cell, seed) for cell in ("centre",) for seed in (1, 2)),
        ("frozen", 1),
        *((cell, seed) for cell in ("lora",) for seed in (1, 2)),
    ]
    shifts = {each.cell: each.token_shift for each in answers}
    assert shifts["lora"] is None
    assert shifts["frozen"] is None, "its base has never seen any"
    assert shifts["centre"] > 0
    for each in answers:
        judged = ["trained", "new-101", "new-102"]
        assert list(each.groups["trained"].by_references) == ["0", "2"]
        assert len(each.groups["trained"].by_references["0"]) == TOY.trained.num_users
        if each.cell == "frozen":
            assert list(each.groups) == judged
        else:
            assert list(each.groups) == [*judged, "learners"]
            assert len(each.groups["learners"].by_references["2"]) == 2 * TOY.num_known

    before = [path.stat().st_mtime_ns for path in (killed / "answers").glob("*.json")]
    again = run(killed)
    assert again.exit_code == 0, again.output
    assert [path.stat().st_mtime_ns for path in (killed / "answers").glob("*.json")] == before
    assert "0 of 5 runs are left" in run(killed, "--list").output

    changed = run(killed, "--set", "fewer_references=0.5", "--list")
    assert "5 of 5 runs are left" in changed.output
    stranger = replace(answers[0].groups["trained"], digest="of other questions")
    write_answers(answers[0].with_group("trained", stranger, seconds=1.0), killed / "answers")
    refused = run(killed)
    assert refused.exit_code == 1
    told = " ".join(refused.output.split())
    assert "must be to the questions about trained that the others were asked" in told


def test_cells_and_hours_are_listed_before_anything_is_made(tmp_path: Path) -> None:
    listed = CliRunner().invoke(main, ["--list", "--folder", str(tmp_path)])
    assert listed.exit_code == 0, listed.output
    assert "37 of 37 runs are left" in listed.output
    assert "all-uncontrasted" in listed.output
    assert "base contrasted: recsys pretrain" in listed.output
    assert "base uncontrasted: recsys pretrain" in listed.output
    assert not (tmp_path / "answers").exists()
    few = CliRunner().invoke(main, ["--list", "--folder", str(tmp_path), "centre", "lora"])
    assert "6 of 6 runs are left" in few.output
    unknown = CliRunner().invoke(main, ["--list", "--folder", str(tmp_path), "center"])
    assert unknown.exit_code == 1
    assert "a cell must be one of centre" in unknown.output
    for base in ("shipped=there", "contrasted"):
        slip = CliRunner().invoke(main, ["--list", "--folder", str(tmp_path), "--base", base])
        assert slip.exit_code == 2
        assert "--base takes NAME=FOLDER with the name contrasted or uncontrasted" in slip.output


def test_its_help_fits_into_a_terminal_of_80_columns() -> None:
    context = click.Context(main, info_name="python -m training.claims", terminal_width=78)
    assert [line for line in main.get_help(context).splitlines() if line[80:]] == []
