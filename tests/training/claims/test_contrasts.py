"""Differences that are known, found in answers that were made so."""

from dataclasses import fields, replace

import pytest

from training.claims.answers import CellAnswers, GroupAnswers
from training.claims.contrasts import CLAIMS, GAP_CELLS, GAP_CONTRASTS, Answered
from training.claims.design import DESIGN, TOY, Design, TrainedCell
from training.claims.people import learners_of, people_of
from training.fitting.pretraining.recipe import PretrainRecipe
from training.fitting.recipes.overrides import override
from training.fitting.recipes.recipe import Recipe

THREE = replace(TOY, seeds=(1, 2, 3), most_learners=5)
MOST = str(TOY.reference_counts[-1])


def answered(design: Design, *, gain: float = 0.0, seen: float = 0.0) -> Answered:
    """The centre is better than the others by `gain`, and on its own learners by `seen`, too."""
    told = {}
    for cell in design.cells:
        for place, seed in enumerate(design.seeds_of(cell)):
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
    assert found.on_new("centre", "tokens-5", 2) is None, "no cell of this design"


def test_the_base_as_it_is_is_compared_with_each_run() -> None:
    found = answered(THREE, gain=0.03)
    most = TOY.reference_counts[-1]
    assert ("frozen", 1) in found.told
    assert ("frozen", 2) not in found.told
    assert found.seeds("centre", "frozen") == [1, 2, 3]
    estimate = found.on_trained("centre", "frozen", most)
    assert (estimate.num_seeds, estimate.value) == (3, pytest.approx(0.031))
    alone = found.on_trained("frozen", None, most)
    assert alone.over_seeds.value == 0
    assert [run.seed for run in found.runs("frozen")] == [1]


def test_answers_about_other_people_are_not_compared() -> None:
    """As many, so that nothing else would tell."""
    found = answered(THREE)
    run = found.told["lora", 2]
    own = run.groups["trained"]
    (gone, *_), rights = own.by_references[MOST], dict(own.by_references[MOST])
    rights["a stranger"] = rights.pop(gone)
    others = replace(own, by_references={MOST: rights})
    told = {**found.told, ("lora", 2): run.with_group("trained", others, seconds=0.0)}
    mixed = Answered(THREE, told)
    with pytest.raises(
        ValueError, match=r"the answers of lora, seed 2, must be about the 6 people"
    ):
        mixed.on_trained("centre", "lora", 2)
    assert mixed.on_new("centre", "lora", 2) is not None


def test_claims_compare_cells_that_there_are() -> None:
    compared = [c for claim in CLAIMS for c in claim.contrasts] + list(GAP_CONTRASTS)
    names = {name for each in compared for name in (each.first, each.second)} | set(GAP_CELLS)
    assert names == {cell.name for cell in DESIGN.cells}


def token_start(design: Design, cell: TrainedCell) -> str | None:
    """Where a cell's P_v begin; None: it has none."""
    recipe = design.recipe(cell, 1)
    if not recipe.scorer.num_preference_tokens:
        return None
    of_base = override(PretrainRecipe(), design.pretraining).num_preference_tokens
    return "the base's" if recipe.token_start == "base" and of_base else "uniform"


def differing(design: Design, one: TrainedCell, other: TrainedCell) -> set[str]:
    """In what two cells differ. P_v that both have must begin alike."""
    starts = [token_start(design, cell) for cell in (one, other)]
    differs = {
        "base": one.base != other.base,
        "loss": one.contrastive != other.contrastive,
        "trained": (one.trains, one.num_tokens) != (other.trains, other.num_tokens),
        "people": one.num_people != other.num_people and other.trains != "nothing",
        "start of tokens": None not in starts and starts[0] != starts[1],
    }
    return {name for name, differ in differs.items() if differ}


def test_what_is_compared_differs_in_one_thing() -> None:
    """So a difference has one cause."""
    whole = Answered(DESIGN, {})
    for contrast in (*(c for claim in CLAIMS for c in claim.contrasts), *GAP_CONTRASTS):
        one, other = DESIGN.cell(contrast.first), DESIGN.cell(contrast.second)
        (name,) = differing(DESIGN, one, other)
        assert whole.shares_a_base(contrast) != (name == "base")


def test_tokens_that_a_base_brought_would_be_a_second_thing() -> None:
    """As when the base as it is kept twelve of its own, beside ten that begin uniform."""

    class OwnTokens(Design):
        def recipe(self, cell: TrainedCell, *arguments: object) -> Recipe:
            start = "base" if cell.trains == "nothing" else "uniform"
            return replace(super().recipe(cell, *arguments), token_start=start)

    given = {each.name: getattr(DESIGN, each.name) for each in fields(Design)}
    design = OwnTokens(**{**given, "pretraining": ("num_preference_tokens=12",)})
    frozen = replace(DESIGN.cell("frozen"), num_tokens=12)
    assert differing(design, DESIGN.cell("pv"), frozen) == {"trained", "start of tokens"}
