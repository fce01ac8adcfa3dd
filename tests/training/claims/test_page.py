"""What the page says of answers that were made up, and which answers it refuses."""

from dataclasses import replace

import pytest

from training.claims.answers import CellAnswers, GroupAnswers
from training.claims.contrasts import Answered, Claim, Contrast
from training.claims.design import TOY, UNCONTRASTED, Design, TrainedCell
from training.claims.page import check_alike, claim_section
from training.claims.people import people_of
from training.claims.work import Piece

DESIGN = replace(
    TOY,
    cells=(*TOY.cells, TrainedCell("other-base", base=UNCONTRASTED), TrainedCell("other")),
)
CLAIM = Claim(
    "Bases",
    "nothing.",
    (Contrast("between bases", "centre", "other-base"), Contrast("on one base", "centre", "other")),
)


def told(design: Design) -> dict[tuple[str, int], CellAnswers]:
    """All runs; the centre's are right of everybody, the others' of nobody."""
    found = {}
    for cell in design.cells:
        for seed in design.seeds_of(cell):
            groups = {
                world.name: GroupAnswers(
                    "same",
                    10,
                    {"2": dict.fromkeys(people_of(world), float(cell.name == "centre"))},
                )
                for world in (design.trained, *design.new)
            }
            found[cell.name, seed] = CellAnswers(
                "", cell.name, seed, "", "", None, 1.0, groups=groups
            )
    return found


def test_a_difference_between_two_bases_has_neither_interval_nor_verdict() -> None:
    *said, rows = claim_section(Answered(DESIGN, told(DESIGN)), CLAIM)
    lines = [line for line in rows.splitlines() if "between bases" in line]
    assert len(lines) == 2  # on trained and on new communities
    for line in lines:
        assert "| +100.0 | – | – | 2 | none: one base of either kind (n = 1) |" in line
    assert "| above zero |" in rows
    assert "Of 2 differences 2 are above zero" in said[-1]


def test_answers_to_other_questions_are_refused_however_many_they_are() -> None:
    pieces = [
        Piece(DESIGN.cell(name), seed, answers, ())
        for (name, seed), answers in told(DESIGN).items()
    ]
    check_alike(pieces)
    (first, *others) = pieces
    for num_pairs in (10, 9):
        stranger = replace(first.answers.groups["trained"], digest="other", num_pairs=num_pairs)
        answers = first.answers.with_group("trained", stranger, seconds=0.0)
        with pytest.raises(ValueError, match="must be to the questions about trained that the"):
            check_alike([replace(first, answers=answers), *others])
