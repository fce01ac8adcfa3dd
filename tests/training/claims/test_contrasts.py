"""Differences that are known, found in answers that were made so."""

from dataclasses import replace

import pytest

from training.claims.answers import CellAnswers, GroupAnswers
from training.claims.contrasts import CLAIMS, GAP_CELLS, GAP_CONTRASTS, Answered
from training.claims.design import DESIGN, TOY, Design, TrainedCell
from training.claims.people import learners_of, people_of

THREE = replace(TOY, seeds=(1, 2, 3), most_learners=5)
MOST = str(TOY.reference_counts[-1])


def answered(design: Design, *, gain: float = 0.0, seen: float = 0.0) -> Answered:
    """The centre is better than LoRA by `gain`, and on those it learned from by `seen`, too."""
    told = {}
    for place, seed in enumerate(design.seeds):
        for cell in design.cells:
            is_centre = cell.name == "centre"
            groups = {}
            for world in (design.trained, *design.new):
                rights = {
                    user: 0.5 + 0.01 * number + is_centre * (gain + 0.002 * ((number + place) % 2))
                    for number, user in enumerate(people_of(world))
                }
                groups[world.name] = rights
            own = set(learners_of(design, seed)[: cell.num_people])
            groups[design.learners.name] = {
                user: 0.4 + 0.02 * number + 0.1 * place + is_centre * seen * (user in own)
                for other in design.seeds
                for number, user in enumerate(learners_of(design, other)[: design.num_known])
            }
            by_group = {
                name: GroupAnswers("same", 10, {MOST: rights}) for name, rights in groups.items()
            }
            told[cell.name, seed] = CellAnswers(
                "", cell.name, seed, "", "", None, 1.0, groups=by_group
            )
    return Answered(design, told)


def test_a_gain_is_found_on_either_communities() -> None:
    found = answered(TOY, gain=0.03)
    most = TOY.reference_counts[-1]
    for ask in (found.on_trained, found.on_new):
        estimate = ask("centre", "lora", most)
        assert estimate.value == pytest.approx(0.031)
        assert estimate.interval[0] > 0
        assert ask("lora", "centre", most).value == pytest.approx(-0.031)
        assert ask("lora", "lora", most).error == 0
    assert found.on_trained("centre", None, most).num_units == TOY.trained.num_users
    assert found.on_new("centre", None, most).num_units == len(TOY.new)


def test_a_gap_is_that_of_the_run_which_saw_a_person_whatever_else_differs() -> None:
    """Runs of one seed are better on everybody, and people differ: neither is a gap."""
    found = answered(THREE, seen=0.05)
    assert found.gap("centre").value == pytest.approx(0.05)
    assert found.gap("lora").value == pytest.approx(0)
    assert found.gap("centre", "lora").value == pytest.approx(0.05)
    assert found.gap("centre").num_units == 3 * THREE.num_known


def test_what_was_not_run_has_no_difference() -> None:
    found = answered(THREE)
    one = Answered(THREE, {key: each for key, each in found.told.items() if key[1] == 1})
    assert one.gap("centre") is None
    assert one.on_trained("centre", "lora", 2).num_seeds == 1
    none = Answered(THREE, {("centre", 1): found.told["centre", 1]})
    assert none.on_new("centre", "lora", 2) is None


def test_claims_compare_cells_that_there_are() -> None:
    compared = [c for claim in CLAIMS for c in claim.contrasts] + list(GAP_CONTRASTS)
    names = {name for each in compared for name in (each.first, each.second)} | set(GAP_CELLS)
    assert names == {cell.name for cell in DESIGN.cells}


def test_each_cell_changes_one_thing_or_the_number_of_learners_beside_it() -> None:
    centre = DESIGN.cells[0]
    assert centre == TrainedCell("centre")
    for cell in DESIGN.cells[1:]:
        trains = (cell.trains, cell.num_tokens) != (centre.trains, centre.num_tokens)
        base = (cell.base, cell.contrastive) != (centre.base, centre.contrastive)
        people = cell.num_people != centre.num_people
        assert 1 <= trains + base + people <= 2
        assert not (base and (trains or people))
