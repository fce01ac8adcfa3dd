"""How long the test is expected to take, before and after some of it was done."""

from pathlib import Path

import pytest
from rich.console import Console

from training.claims.answers import CellAnswers, GroupAnswers, write_answers
from training.claims.design import DESIGN
from training.claims.listing import (
    IMAGE_S,
    PAIR_S,
    PERSON_S,
    REFERENCE_S,
    expected_s,
    show_pieces,
)
from training.claims.work import Work
from training.world.folder import open_folder


def test_the_whole_test_takes_about_four_hours_of_a_core() -> None:
    runs = [cell for cell in DESIGN.cells for _ in DESIGN.seeds_of(cell)]
    assert sum(expected_s(DESIGN, cell) for cell in runs) == pytest.approx(4 * 3600, rel=0.1)


def test_what_is_expected_is_the_sum_of_its_parts() -> None:
    """Of the base as it is: all images once, those who decide the temperature, and the judged."""
    images = 8 * (1500 + 600 + 5 * 400)
    asked = 100 * (PERSON_S + 8 * PAIR_S + 8 * REFERENCE_S)
    asked += (600 + 5 * 400) * (3 * (PERSON_S + 8 * PAIR_S) + (0 + 2 + 8) * REFERENCE_S)
    assert expected_s(DESIGN, DESIGN.cell("frozen")) == pytest.approx(images * IMAGE_S + asked)


def test_what_is_left_is_expected_to_take_as_long_as_what_is_done_took(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    centre, lora = DESIGN.cell("centre"), DESIGN.cell("lora")
    took = 2 * expected_s(DESIGN, centre)
    for seed in DESIGN.seeds[:2]:
        groups = dict.fromkeys(DESIGN.groups_of(centre), GroupAnswers("", 1, {}))
        identity = DESIGN.identity(centre, seed)
        done = CellAnswers(identity, "centre", seed, "", "", None, took / 4, took * 3 / 4, groups)
        write_answers(done, tmp_path / "answers")
    with open_folder(tmp_path / "world") as runtime:
        work = Work(DESIGN, runtime, tmp_path, Console(quiet=True), command=lambda words: None)
        show_pieces(work, ["centre", "lora"])
    told = " ".join(capsys.readouterr().out.split())
    hours = 2 * (expected_s(DESIGN, centre) + 3 * expected_s(DESIGN, lora)) / 3600
    assert f"4 of 6 runs are left: about {hours:.1f} hours of a core" in told
    assert f"2 of 3 {took / 60:.0f} " in told
    assert f"0 of 3 {2 * expected_s(DESIGN, lora) / 60:.0f} (expected)" in told
